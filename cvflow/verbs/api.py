"""What Python users call: ``cvflow.run``, ``cvflow.load`` and prediction in batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
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
from cvflow.project.plugins import use_plugins
from cvflow.recipe.refusals import view_faults
from cvflow.registry import Component, check
from cvflow.runtime.local import pick_device
from cvflow.stages.predict import Written, predict_path

ImageLike = bytes | str | Path | NDArray[np.uint8] | Image.Image
"""Encoded bytes, a path, uint8 HxW or HxWx3 pixels (0..255, RGB), or a Pillow image."""


class Model:
    """A trained model, ready to answer. Loading it reads safetensors and JSON, and executes nothing."""

    def __init__(self, trained: TrainedModel, directory: Path, views: Sequence[Component] = ()) -> None:
        self.directory = directory
        self.classes = trained.info.classes
        self.recipe = trained.recipe
        self.images = trained.task.schema.images
        first_weight = next(trained.model.parameters())
        self._predictor = Predictor(trained, first_weight.device, views=views)

    def predict(
        self, images: Iterable[ImageLike | Mapping[str, ImageLike]], batch_size: int = 64
    ) -> list[dict[str, Any]]:
        """Return a mapping for each image, in order: ``class``, ``probabilities``, ...

        An image that cannot be read gives ``error`` alone. If an answer needs several images, each item
        is a mapping by name, as ``{"left": ..., "right": ...}``.
        """
        rows = self._rows(images)
        answers = chain.from_iterable(self._predictor.rows(rows, batch_size))
        return list(map(_without_empty, answers))

    def _rows(self, images: Iterable[ImageLike | Mapping[str, ImageLike]]) -> Iterator[dict[str, Any]]:
        for index, image in enumerate(images):
            yield {"id": str(index), **named(image, self.images)}


def _without_empty(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without its id, and without an error that did not occur."""
    result = dict(answer)
    result.pop("id", None)
    if result.get("error") is None:
        result.pop("error", None)
    return result


def load(
    model: str | Path,
    device: str = "auto",
    views: Sequence[str | Mapping[str, Any]] = (),
    plugins: Sequence[str | Path] = (),
) -> Model:
    """Load a model by ``models:/name@alias``, ``models:/name/3``, ``name`` (its champion) or directory.

    device: auto, cpu or cuda. views: looks at each image, whose answers are merged, as in a recipe's
    ``predict.views``. plugins: files that register components, as ``--plugin``; those that this directory's
    recipes name are loaded anyway.
    """
    use_plugins([Path(file) for file in plugins])
    components = checked_views(views, "views")
    directory, _ = locate_model(model)
    chosen_device = pick_device(Compute.model_validate({"device": device}))
    trained = read_model(directory, chosen_device)
    if faults := view_faults(trained.task, components, "views"):
        raise RequestError(*faults)
    return Model(trained, directory, components)


def run(
    recipe: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    quiet: bool = False,
) -> Outcome:
    """Take a recipe from raw data to a registered model, as ``cvflow run`` does.

    overrides: dotted key -> value. Raises RequestError for a wrong recipe, CvflowError if a stage fails.
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
    plugins: Sequence[Path] = (),
) -> Written:
    """Predict a folder, prepared dataset or Parquet with a model; see cvflow.stages.predict."""
    use_plugins(plugins)
    components = checked_views(views, "--view")
    directory, version = locate_model(model)
    compute = Compute(workers=workers)
    return predict_path(directory, version, source, out, compute, batch_size, split, overlays, components)


def checked_views(views: Sequence[str | Mapping[str, Any]], where: str) -> tuple[Component, ...]:
    """Return views as a recipe writes them, each a name or ``{name, options}``.

    Raises RequestError with every fault; it names ``where``.
    """
    faults: list[Fault] = []
    components: list[Component] = []
    for view in views:
        if _is_view(view):
            components.append(Component.model_validate(view))
        else:
            faults.append(Fault(where, repr(view), "a view's name, or {name: NAME, OPTION: VALUE}"))
    # a component's faults are only looked for in what can be read as one
    for component in components:
        _, option_faults = check("view", component, where)
        faults += option_faults
    if faults:
        raise RequestError(*faults)
    return tuple(components)


def _is_view(view: object) -> bool:
    """Whether it is a name, or a mapping with a name."""
    if isinstance(view, Mapping):
        return isinstance(view.get("name"), str)
    return isinstance(view, str)


def locate_model(model: str | Path) -> tuple[Path, str]:
    """Return (directory, version) of a model by path or in the registry.

    version: ``name/version`` as predictions carry it; of a bare directory the fingerprint of its
    training.
    """
    model_json = Path(model) / "model.json"
    if model_json.is_file():
        return Path(model), str(json.loads(model_json.read_text())["fingerprint"])
    uri = model_uri(str(model))
    # mlflow comes with it: only for models in the registry
    from cvflow.runtime.model_registry import download, exact_version

    # asked once, since an alias may move between two questions
    version = exact_version(uri)
    exact_uri = uri if uri.startswith("runs:/") else f"models:/{version}"
    return download(exact_uri), version


def model_uri(text: str) -> str:
    """Return MLflow's URI of a model; a bare name means its champion.

    Raises RequestError for the path of a directory without a model.
    """
    if text.startswith(("models:/", "runs:/")):
        return text
    if "/" in text:
        fix = "Type 'cvflow models' for names."
        raise RequestError(Fault("MODEL", f"'{text}'", "a model directory (with model.json)", fix))
    return f"models:/{text}@champion"


def named(image: ImageLike | Mapping[str, ImageLike], names: Sequence[str]) -> dict[str, bytes]:
    """Return the encoded images of a row by name; a single image needs no name.

    Raises RequestError if the names are not those that the model reads.
    """
    images = image if isinstance(image, Mapping) else {names[0]: image}
    if set(images) != set(names):
        got = "one image"
        if isinstance(image, Mapping):
            got = f"a mapping of {', '.join(map(str, images))}"
        expected = ", ".join(f'"{name}": IMAGE' for name in names)
        raise RequestError(Fault("images", got, f"{{{expected}}}"))
    return {name: encoded(images[name]) for name in names}


def encoded(image: ImageLike) -> bytes:
    """Return any kind of image as encoded bytes."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        file = Path(image)
        if not file.is_file():
            raise RequestError(Fault("images", f"'{image}'", "an image file that exists"))
        return file.read_bytes()
    if isinstance(image, Image.Image):
        mode = "L" if image.mode in ("1", "L") else "RGB"
        return encode_png(np.asarray(image.convert(mode)))
    return encode_png(image)
