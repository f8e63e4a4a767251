"""What an evaluation holds does not grow with its answers' maps."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from cvflow.config import Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.evaluate import evaluate
from cvflow.engine.job import Job
from cvflow.registry import build
from cvflow.runtime.local import LocalSession
from cvflow.tasks.segmentation import Segmentation
from cvflow.types import Batch, Prediction, Raw

MEGABYTE = 2**20


class Detailed(Segmentation):
    """Gives a map of a megabyte with every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer.columns = {"mask": "binary", "depth": "binary", "size": "float"}
        self.answer.heavy = frozenset({"mask", "depth"})

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        found = super().decode(raw, batch)
        return [
            Prediction(p.id, {**p.values, "depth": os.urandom(MEGABYTE), "size": float(len(p.id))})
            for p in found
        ]


def test_memory_is_that_of_a_batch(tmp_path: Path, session: Callable[..., LocalSession]) -> None:
    model = {"name": "unet", "backbone": {"name": "unet", "width": 4, "levels": 2}}
    scenes = {"format": {"name": "digit_scenes", "size": 32, "count": 60}}
    recipe = Recipe.model_validate(
        {"task": "segmentation", "data": scenes, "image": {"size": (32, 32)}, "model": model}
    )
    prepare(
        build("format", recipe.data.format, None),
        Segmentation.schema,
        "segmentation",
        SplitRule(),
        tmp_path / "data",
        64,
    )
    dataset, task = PreparedDataset(tmp_path / "data"), Detailed()
    task.bind(dataset.info)
    job = Job(recipe, task, dataset, task.build(recipe, dataset.info), session())
    tracemalloc.start()
    try:
        found = evaluate(job, "train", 4, keep_predictions=True)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.predictions) == len(found.quality) == 40
    assert [p.values for p in found.predictions] == [{"size": float(len(p.id))} for p in found.predictions]
    assert len({p.id for p in found.predictions}) == 40
    assert most < 16 * MEGABYTE, "two batches of four, and not 40 maps"
