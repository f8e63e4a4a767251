"""A trained model as an ONNX file: uint8 images in, the task's raw answers out, checked against
torch before it is written.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvflow.engine.export import TrainedModel
from cvflow.engine.infer import Predictor, batches, noise
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.tasks.base import Task
from cvflow.types import Batch, Row

TOLERANCE = 1e-3
"""The greatest difference to torch under which a file is written; of an output with values over 1,
as a part of the greatest.
"""
TRIALS = (1, 2, 5)
"""Batch sizes of the random images that it is checked on."""


@dataclass(frozen=True)
class Exported:
    """What was written. difference: the greatest to torch over ``checked`` images, measured as
    TOLERANCE is.
    """

    path: Path
    difference: float
    checked: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class RawAnswers(nn.Module):
    """A task's forward pass as a function of the image tensors alone: B x C x H x W uint8, of the
    model's size.
    """

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, *images: Tensor) -> dict[str, Tensor]:
        named = dict(zip(self.task.schema.images, images, strict=True))
        batch = Batch([], named)  # no ids: their number would fix the batch size
        return dict(self.task.raw(self.task.outputs(self.model, batch), batch))


def export_onnx(
    trained: TrainedModel, file: Path, rows: Iterable[Row] = (), batch_size: int = 32
) -> Exported:
    """Write ``file``. rows: real images to check it on, besides random ones; those that cannot be
    read are passed over.

    Raises CvflowError, and writes nothing, where onnxruntime and torch differ by more than TOLERANCE.
    """
    _need("onnx", "onnxruntime", "onnxscript")
    module = RawAnswers(trained.task, trained.model.cpu().eval()).eval()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        aside = Path(folder) / "model.onnx"
        outputs = _write(module, trained, aside)
        difference, checked = _difference(module, aside, outputs, _inputs(trained, rows, batch_size))
        if not difference <= TOLERANCE:
            raise CvflowError(
                f"onnxruntime differs from torch by {difference:.2g} on "
                f"{checked} images, over {TOLERANCE:g}: nothing is written"
            )
        aside.rename(file)
    return Exported(file, difference, checked, trained.task.schema.images, outputs)


def _need(*packages: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise RequestError(
            Fault(
                "--format onnx",
                f"no {' and no '.join(missing)}",
                "the extra 'onnx'",
                "Type: pip install 'cvflow[onnx]'",
            )
        )


def _write(module: RawAnswers, trained: TrainedModel, file: Path) -> tuple[str, ...]:
    """Export with a batch of any size and the metadata; the names of the outputs."""
    names = trained.task.schema.images
    images = tuple(noise(trained.recipe.image, 2, seed) for seed, _ in enumerate(names))
    with torch.no_grad():
        outputs = tuple(module(*images))
    batch = {0: torch.export.Dim("batch")}
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own, about its exporter
        program = torch.onnx.export(
            module,
            images,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=((batch,) * len(names),),
            dynamo=True,
            verbose=False,
        )
    logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None  # with dynamo=True
    program.model.metadata_props.update(metadata(trained))
    program.save(file)
    return outputs


def metadata(trained: TrainedModel) -> dict[str, str]:
    """What a user of the file needs to know; every value is text, lists are JSON."""
    image = trained.recipe.image
    return {
        "cvflow.task": trained.recipe.task.name,
        "cvflow.classes": json.dumps(trained.info.classes, ensure_ascii=False),
        "cvflow.size": json.dumps(image.size),
        "cvflow.channels": str(image.channels),
        "cvflow.resize": image.resize,
        "cvflow.input": "uint8 NCHW, 0..255, RGB or grey; normalised inside",
        "cvflow.fingerprint": trained.fingerprint,
        "cvflow.data_digest": trained.data_digest,
    }


def _inputs(trained: TrainedModel, rows: Iterable[Row], batch_size: int) -> Iterable[Sequence[Tensor]]:
    """The batches that the file is checked on."""
    names = trained.task.schema.images
    for count in TRIALS:
        yield [noise(trained.recipe.image, count, 100 * count + i) for i, _ in enumerate(names)]
    predictor = Predictor(trained, torch.device("cpu"))
    for decoded in map(predictor.decode, batches(rows, batch_size)):
        if decoded.batch is not None:
            yield [decoded.batch.images[name] for name in names]


def _difference(
    module: RawAnswers, file: Path, outputs: Sequence[str], inputs: Iterable[Sequence[Tensor]]
) -> tuple[float, int]:
    """(the greatest difference, images looked at)."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    worst, checked = 0.0, 0
    for images in inputs:
        with torch.no_grad():
            expected = module(*images)
        got = session.run(
            outputs, {name: x.numpy() for name, x in zip(module.task.schema.images, images, strict=True)}
        )
        gaps = [gap(one, expected[name].numpy()) for name, one in zip(outputs, got, strict=True)]
        # np.max keeps a NaN
        worst, checked = float(np.max([worst, *gaps])), checked + len(images[0])
    return worst, checked


def gap(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The greatest difference; where values exceed 1, such as pixels of disparity or flow, as a
    part of the greatest of them.
    """
    return float(np.abs(got - expected).max() / np.maximum(1, np.abs(expected).max()))
