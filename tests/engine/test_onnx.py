"""Models as ONNX: the same numbers in onnxruntime at any batch size.

What a user needs is in the metadata, and nothing is written that is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine import onnx as exporting
from cvflow.engine.export import TrainedModel
from cvflow.engine.job import make_task
from cvflow.errors import CvflowError
from cvflow.types import Row

Trained = Callable[..., TrainedModel]


@pytest.fixture
def trained(digits: PreparedDataset) -> Trained:
    """A network as initialised, of a backbone and input."""

    def make(backbone: Any, size: tuple[int, int], channels: int) -> TrainedModel:
        image = {"size": size, "channels": channels}
        recipe = Recipe.model_validate(
            {
                "task": "classification",
                "data": {"format": "digits"},
                "image": image,
                "model": {"name": "classifier", "backbone": backbone},
            }
        )
        torch.manual_seed(0)
        task = make_task(recipe, digits.info)
        return TrainedModel(
            recipe, task, digits.info, task.build(recipe, digits.info).eval(), "f" * 32, "d" * 32 + ".dir"
        )

    return make


@pytest.mark.parametrize(
    ("backbone", "size", "channels"),
    [
        ("lenet", (28, 28), 1),
        pytest.param("cifar_resnet", (32, 32), 3, marks=pytest.mark.slow),
        pytest.param({"name": "torchvision", "model": "mobilenet_v2"}, (64, 48), 3, marks=pytest.mark.slow),
    ],
)
def test_onnxruntime_answers_as_torch(
    backbone: Any,
    size: tuple[int, int],
    channels: int,
    trained: Trained,
    digits: PreparedDataset,
    tmp_path: Path,
) -> None:
    one = trained(backbone, size, channels)
    reader = digits.split("test")
    rows: list[Row] = [*(reader[i] for i in range(9)), {"id": "broken", "image": b"no image"}]
    written = exporting.export_onnx(one, tmp_path / "deep" / "model.onnx", rows, batch_size=4)
    assert written.difference <= 1e-4
    assert written.checked == 8 + 9
    session = onnxruntime.InferenceSession(written.path)
    assert (written.inputs, written.outputs) == (("image",), ("probabilities",))
    for count in (1, 7):
        images = np.random.default_rng(count).integers(0, 256, (count, channels, *size), dtype=np.uint8)
        (got,) = session.run(None, {"image": images})
        with torch.no_grad():
            np.testing.assert_allclose(got, one.model(torch.from_numpy(images)).softmax(1).numpy(), atol=1e-5)
    said = {entry.key: entry.value for entry in onnx.load(written.path).metadata_props}
    assert json.loads(said["cvflow.classes"]) == list(digits.info.classes)
    assert (json.loads(said["cvflow.size"]), said["cvflow.channels"]) == (list(size), str(channels))
    assert (said["cvflow.resize"], said["cvflow.fingerprint"]) == ("stretch", "f" * 32)
    assert [path.name for path in written.path.parent.iterdir()] == ["model.onnx"]


def test_a_file_that_differs_is_not_written(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(
        CvflowError, match="differs from torch by .* on 8 images, over -1: nothing is written"
    ):
        exporting.export_onnx(trained("mlp", (8, 8), 1), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
