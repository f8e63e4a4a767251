"""``cvflow identify``: whom images show, by the most similar one in a gallery of known identities."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.answers.base import Comparable
from cvflow.config import Compute
from cvflow.dataset.row_sources import RowSource, open_source
from cvflow.engine.export import read_model
from cvflow.engine.infer import Predictor
from cvflow.errors import Fault, RequestError
from cvflow.project.plugins import use_plugins
from cvflow.runtime.local import pick_device
from cvflow.verbs.api import locate_model

THRESHOLD = "eer_threshold"
"""The metric of a model that says from which similarity on two images are taken for one identity."""
BATCH = 64
Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Identified:
    """One image's answer. similarity: cosine, -1..1, to ``nearest``, an image of the gallery, which
    shows ``identity``.

    accepted: whether that is similar enough; None where no threshold is known. error: why the image
    has no answer.
    """

    id: str
    identity: str | None = None
    similarity: float | None = None
    accepted: bool | None = None
    nearest: str | None = None
    error: str | None = None


def identify(
    model: str | Path,
    gallery: Path,
    probes: Path,
    threshold: float | None = None,
    device: str = "auto",
    plugins: Sequence[Path] = (),
) -> tuple[list[Identified], float | None]:
    """Return an answer for each image of ``probes``, and the threshold used: the given one, or the
    model's own.

    gallery: images in a folder for each identity, or one image each, named after it. plugins: files
    that register components. RequestError for a model that compares nothing.
    """
    use_plugins(plugins)
    directory, version = locate_model(model)
    trained = read_model(directory, pick_device(Compute.model_validate({"device": device})))
    answer = trained.task.answer
    if not isinstance(answer, Comparable):
        got = f"a model of {trained.recipe.task.name}"
        raise RequestError(
            Fault(
                "MODEL",
                got,
                "one that gives vectors to compare images by",
                "Train one: cvflow run embedding-samples.",
            )
        )
    column = answer.compared_by
    predictor = Predictor(trained, next(trained.model.parameters()).device)
    gallery_vectors = {
        id: vector for id, vector in vectors(predictor, gallery, column) if not isinstance(vector, str)
    }
    if not gallery_vectors:
        raise RequestError(
            Fault(
                "GALLERY",
                f"'{gallery}', without an image that can be read",
                "a folder of images for each identity",
            )
        )
    threshold = measured_threshold(directory, version) if threshold is None else threshold
    ids, matrix = list(gallery_vectors), np.stack(list(gallery_vectors.values()))
    identified = [
        nearest(id, vector, ids, matrix, threshold) for id, vector in vectors(predictor, probes, column)
    ]
    return identified, threshold


def vectors(predictor: Predictor, path: Path, column: str) -> Iterator[tuple[str, Vectors | str]]:
    """(id, its vector at length 1, or why it has none)."""
    source: RowSource = open_source(path, predictor.trained.task.schema.images, "test")
    for answers in predictor.rows(source.rows(0, len(source)), BATCH):
        for answer in answers:
            yield answer["id"], answer["error"] or unit(answer[column])


def unit(values: Any) -> Vectors:
    vector = np.asarray(values, dtype=np.float64)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def nearest(
    id: str, vector: Vectors | str, ids: list[str], matrix: Vectors, threshold: float | None
) -> Identified:
    """matrix: the gallery's vectors, in the order of ``ids``."""
    if isinstance(vector, str):
        return Identified(id, error=vector)
    similarity = matrix @ vector
    best = int(similarity.argmax())
    value = float(similarity[best])
    return Identified(
        id, identity_of(ids[best]), value, None if threshold is None else value >= threshold, ids[best]
    )


def identity_of(id: str) -> str:
    """Of an image in the gallery: its folder, or its own name where it lies in none."""
    folder, _, name = id.rpartition("/")
    return folder or Path(name).stem


def measured_threshold(directory: Path, version: str) -> float | None:
    """Of the registered version's evaluation, or of the run that the model directory is in; None
    where neither is known.
    """
    beside = directory.parent / "evaluation" / "metrics.json"
    if beside.is_file():
        metrics: dict[str, float] = json.loads(beside.read_text())["metrics"]
    elif "/" in version:
        from cvflow.runtime.model_registry import find_version

        metrics = find_version(f"models:/{version}").metrics
    else:
        metrics = {}
    return metrics.get(THRESHOLD)
