"""Every task on two Ray workers: trained there, its model is measured the same by two workers as by none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvflow.config import Compute, Recipe
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.export import write_model
from cvflow.registry import build, names
from cvflow.runtime.launch import launch
from cvflow.stages.evaluate import measure
from cvflow.stages.train import train_worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
UNET = {"name": "unet", "width": 4, "levels": 3}
PAIR = {"name": "layered_scenes", "count": 25, "size": [32, 48], "most": 6}
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"data": {"format": "digits", "split": {"test": 0.9}}, "model": {"name": "classifier"}},
    "segmentation": {
        "task": {"name": "segmentation", "dice": 1.0},
        "data": {"format": {"name": "digit_scenes", "size": 48, "count": 42}},
        "model": {"name": "unet", "backbone": UNET},
    },
    "localization": {
        "data": {"format": {"name": "digit_boxes", "size": 48, "count": 60, "digits": [0, 1, 2]}},
        "model": {"name": "localizer", "backbone": UNET},
    },
    "embedding": {
        "data": {"format": {"name": "digit_identities", "identities": 30, "images": 4}},
        "model": {"name": "embedder", "backbone": {"name": "conv4", "width": 8}},
    },
    "stereo": {
        "data": {"format": {**PAIR, "pairs": "stereo"}},
        "model": {"name": "cost_volume_stereo", "max_disparity": 8, "channels": 8, "depth": 0},
    },
    "flow": {
        "data": {"format": {**PAIR, "pairs": "flow"}},
        "model": {"name": "correlation_flow", "channels": [8, 8], "width": 8},
    },
}


def compute(workers: int) -> Compute:
    return Compute(workers=workers, threads=1, device="cpu")


def trained_by_two(root: Path, name: str, sections: Mapping[str, Any]) -> tuple[Path, PreparedDataset]:
    """The model of one epoch on two workers, and its data."""
    train = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 0.002}}
    recipe = Recipe.model_validate({"task": name, "image": {"size": (32, 48)}, "train": train, **sections})
    schema = build("task", recipe.task).schema
    prepare(build("format", recipe.data.format, None), schema, name, recipe.data.split, root / "data", 64)
    data = PreparedDataset(root / "data")
    filled = recipe.model_dump(mode="json", by_alias=True)
    store = CheckpointStore(root / "checkpoints")
    launch(
        train_worker, compute(2), store.root, root / "history.jsonl", recipe=filled, dataset=str(data.path)
    )
    last = store.latest()
    assert last is not None
    write_model(root / "model", last.tensors["model"], filled, data.info, "f", "d")
    return root / "model", data


def test_every_task_is_tried() -> None:
    assert set(TASKS) == set(names("task")), "a new task? give TASKS its smallest recipe"


@pytest.mark.parametrize("name", TASKS)
def test_two_workers_measure_what_one_does(name: str, tmp_path: Path) -> None:
    model, data = trained_by_two(tmp_path, name, TASKS[name])
    here, *spread = (measure(model, data.path, "test", 3, compute(n), tmp_path) for n in (0, 1, 2))
    assert [p.id for p in here.predictions] == [
        data.split("test")[i]["id"] for i in range(data.info.counts["test"])
    ]
    for found in spread:
        # exactly: one thread, the same batches
        assert found.predictions == here.predictions
        # NaN where there is none, as among the metrics
        np.testing.assert_equal(found.quality, here.quality)
        assert found.details == here.details
        np.testing.assert_equal(found.metrics, here.metrics)
