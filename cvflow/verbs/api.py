"""The Python face: ``cvflow.run``, ``cvflow.load`` and batch prediction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.annotations.image import encode_png
from cvflow.config import Compute
from cvflow.engine.export import TrainedModel, read_model
from cvflow.engine.infer import Predictor
from cvflow.errors import Fault, RequestError
from cvflow.project.pipeline import Outcome
from cvflow.project.pipeline import run as run_pipeline
from cvflow.registry import Component, check
from cvflow.runtime.local import pick_device
from cvflow.stages.predict import Written, predict_path

ImageLike = bytes | str | Path | NDArray[np.uint8] | Image.Image
"""Encoded bytes, a path, uint8 HxW or HxWx3 pixels (0..255, RGB), or a Pillow image."""


class Model:
    """A trained model, ready to answer. Loaded from safetensors and JSON: nothing of the model's is executed."""

    def __init__(self, trained: TrainedModel, directory: Path, views: Sequence[Component] = ()) -> None:
        self.directory = directory
        self.classes = trained.info.classes
        self.recipe = trained.recipe
        self.images = trained.task.schema.images
        self._predictor = Predictor(trained, next(trained.model.parameters()).device, views=views)

    def predict(
        self, images: Iterable[ImageLike | Mapping[str, ImageLike]], batch_size: int = 64
    ) -> list[dict[str, Any]]:
        """One mapping an image, in order: ``class``, ``probabilities``, ...; ``error`` alone where it cannot be read.

        Where an answer takes several images they come by name, as ``{"left": ..., "right": ...}``.
        """
        rows = ({"id": str(index), **named(image, self.images)} for index, image in enumerate(images))
        answers = [answer for batch in self._predictor.rows(rows, batch_size) for answer in batch]
        return [
            {k: v for k, v in answer.items() if k != "id" and (k != "error" or v is not None)}
            for answer in answers
        ]


def load(model: str | Path, device: str = "auto", views: Sequence[str | Mapping[str, Any]] = ()) -> Model:
    """A model by ``models:/name@alias``, ``models:/name/3``, ``name`` (its champion) or directory.

    device: auto, cpu or cuda. views: looks at each image, whose answers are merged, as a recipe's ``predict.views``.
    """
    looks, (directory, _) = checked_views(views, "views"), locate_model(model)
    return Model(
        read_model(directory, pick_device(Compute.model_validate({"device": device}))), directory, looks
    )


def run(
    recipe: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    quiet: bool = False,
) -> Outcome:
    """``cvflow run``: take a recipe from raw data to a registered model. overrides: dotted key -> value.

    Raises RequestError for a wrong recipe, CvflowError where a stage failed.
    """
    return run_pipeline(str(recipe), overrides, name, quiet=quiet)


def predict_batch(
    model: str | Path,
    source: Path,
    out: Path,
    *,
    workers: int = 0,
    batch_size: int = 256,
    split: str = "test",
    overlays: int = 0,
    views: Sequence[str | Mapping[str, Any]] = (),
) -> Written:
    """Answer a folder, prepared dataset or Parquet with a model; see cvflow.stages.predict."""
    looks, (directory, version) = checked_views(views, "--view"), locate_model(model)
    return predict_path(
        directory, version, source, out, Compute(workers=workers), batch_size, split, overlays, looks
    )


def checked_views(views: Sequence[str | Mapping[str, Any]], where: str) -> tuple[Component, ...]:
    """Views as a recipe writes them, each a name or ``{name, options}``. Raises RequestError with every fault."""
    wrong = [
        view
        for view in views
        if not isinstance(view, str) and not (isinstance(view, Mapping) and isinstance(view.get("name"), str))
    ]
    faults = [Fault(where, repr(view), "a view's name, or {name: NAME, OPTION: VALUE}") for view in wrong]
    components = [Component.model_validate(view) for view in views if view not in wrong]
    faults += [fault for component in components for fault in check("view", component, where)[1]]
    if faults:
        raise RequestError(*faults)
    return tuple(components)


def locate_model(model: str | Path) -> tuple[Path, str]:
    """(directory, version) of a model by path or in the registry.

    version: ``name/version`` as predictions carry it; a bare directory is named by its training's fingerprint.
    """
    if (Path(model) / "model.json").is_file():
        return Path(model), str(json.loads((Path(model) / "model.json").read_text())["fingerprint"])
    text = str(model)
    if not text.startswith(("models:/", "runs:/")):
        if "/" in text:
            raise RequestError(
                Fault(
                    "MODEL",
                    f"'{text}'",
                    "a model directory (with model.json)",
                    "Type 'cvflow models' for names.",
                )
            )
        text = f"models:/{text}@champion"
    from cvflow.runtime.model_registry import download, exact_version

    version = exact_version(text)  # once: an alias may move
    return download(text if text.startswith("runs:/") else f"models:/{version}"), version


def named(image: ImageLike | Mapping[str, ImageLike], names: Sequence[str]) -> dict[str, bytes]:
    """The encoded images of a row by their names; one alone needs none. RequestError where others are given."""
    given = image if isinstance(image, Mapping) else {names[0]: image}
    if set(given) != set(names):
        got = f"a mapping of {', '.join(map(str, given))}" if isinstance(image, Mapping) else "one image"
        raise RequestError(Fault("images", got, "{" + ", ".join(f'"{name}": IMAGE' for name in names) + "}"))
    return {name: encoded(given[name]) for name in names}


def encoded(image: ImageLike) -> bytes:
    """Any kind of image as encoded bytes."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        if not Path(image).is_file():
            raise RequestError(Fault("images", f"'{image}'", "an image file that exists"))
        return Path(image).read_bytes()
    if isinstance(image, Image.Image):
        return encode_png(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))
    return encode_png(image)
