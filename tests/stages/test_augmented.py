"""The report's augmented images: the annotation that moved with the pixels is drawn on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvflow.config import Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.draw import Strips
from cvflow.engine.job import make_task
from cvflow.project.graph import Run
from cvflow.registry import build
from cvflow.stages.report.finished_run import Finished
from cvflow.stages.report.images import Epoch, augmented, variants

FORMATS: Mapping[str, Mapping[str, Any]] = {
    "segmentation": {"name": "digit_scenes", "size": 32, "count": 10},
    "localization": {"name": "digit_boxes", "size": 32, "count": 20, "digits": [0, 1]},
    "stereo": {"name": "layered_scenes", "count": 5, "size": [32, 40], "most": 6},
    "flow": {"name": "layered_scenes", "pairs": "flow", "count": 5, "size": [32, 40], "most": 6},
}


def finished(task: str, out: Path, *augment: Any) -> Finished:
    """What the report reads of a run for its augmented images."""
    sections = {"data": {"format": FORMATS[task]}, "image": {"size": [32, 40], "resize": "pad"}}
    recipe = Recipe.model_validate({"task": task, **sections, "train": {"epochs": 2, "augment": augment}})
    reader = build("format", recipe.data.format, None)
    prepare(reader, build("task", recipe.task).schema, task, SplitRule(), out, 64)
    done, dataset = Finished(Run("none")), PreparedDataset(out)
    vars(done).update(dataset=dataset, recipe=recipe, task=make_task(recipe, dataset.info))
    return done


@pytest.mark.parametrize("task", FORMATS)
def test_the_annotation_is_drawn_and_moves_with_the_image(task: str, tmp_path: Path) -> None:
    done = finished(task, tmp_path / "data", {"name": "vertical_flip", "p": 1})
    (strips,) = augmented(done)
    assert isinstance(strips, Strips)
    assert strips.side > 96
    plain, turned, again = variants(done, [Epoch(done, number, done.recipe) for number in (0, 1)], 0)
    assert np.array_equal(turned, again)
    (sample,) = done.task.samples(done.dataset.split("train")[0])
    bare = (
        done.task.transforms(done.recipe, "test")(sample)
        .images[done.task.schema.images[0]]
        .permute(1, 2, 0)
        .numpy()
    )
    assert plain.shape != bare.shape or (plain != bare).any(), "something is drawn on it"
    if task == "segmentation":
        assert np.array_equal(turned, plain[::-1])
    if task == "stereo":  # the view, below it its disparity
        assert np.array_equal(turned, np.concatenate([plain[:32][::-1], plain[32:][::-1]]))


def test_where_nothing_lies_in_the_pixels_the_image_is_as_it_was_seen(tmp_path: Path) -> None:
    recipe = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": [8, 8], "channels": 1},
    }
    made = Recipe.model_validate({**recipe, "train": {"epochs": 1, "augment": ["vertical_flip"]}})
    prepare(
        build("format", made.data.format, None),
        build("task", made.task).schema,
        "classification",
        SplitRule(),
        tmp_path / "data",
        64,
    )
    done, dataset = Finished(Run("none")), PreparedDataset(tmp_path / "data")
    vars(done).update(dataset=dataset, recipe=made, task=make_task(made, dataset.info))
    plain, seen = variants(done, [Epoch(done, 0, made)], 3)
    assert np.array_equal(seen, plain) or np.array_equal(seen, plain[::-1])
