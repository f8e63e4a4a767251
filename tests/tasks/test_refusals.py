"""What a task cannot do is a fault of the recipe, found before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cvflow.config import Recipe
from cvflow.errors import RequestError
from cvflow.registry import Component, build, names
from cvflow.stages.recipe_file import load
from cvflow.stages.resolve import resolve_layers
from cvflow.tasks.base import Task

TASKS = names("task")


def made(task: str) -> Task:
    found: Task = build("task", Component(name=task))
    return found


def faults(task: str, **sections: Mapping[str, Any]) -> list[str]:
    recipe = Recipe.model_validate({"task": task, "data": {"format": "digits"}, **sections})
    return [str(fault) for fault in made(task).faults(recipe)]


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_refused_without_a_reason(task: str) -> None:
    assert faults(task, train={"augment": ["vertical_flip", "zoom", "colour_jitter"]}, evaluate={"views": ["five_crops"]}) == []


@pytest.mark.parametrize("mix", names("mix"))
@pytest.mark.parametrize("task", TASKS)
def test_images_are_mixed_only_where_their_annotations_can_be(task: str, mix: str) -> None:
    found = faults(task, train={"mix": mix})
    if task == "classification":
        assert found == []
    else:
        assert [fault.split(", expected")[0] for fault in found] == [f"train.mix: got {mix}"]
        assert "Leave it out." in found[0]


@pytest.mark.parametrize("transform", ["random_erasing", "cutout"])
@pytest.mark.parametrize("task", TASKS)
def test_no_place_is_hidden_alike_in_two_views(task: str, transform: str) -> None:
    """The hidden place would match where it lies, whatever the disparity or flow there."""
    found = faults(task, train={"augment": ["zoom", transform]})
    assert [fault.split(",")[0] for fault in found] == ([f"train.augment.1: got {transform}"] if task in ("stereo", "flow") else [])


@pytest.mark.parametrize("task", TASKS)
def test_a_stereo_pair_keeps_its_rows_and_its_sides(task: str) -> None:
    views = {"views": [{"name": "five_crops", "scale": 1.2}, "horizontal_flip"]}
    found = faults(task, train={"augment": ["rotate"]}, evaluate=views, predict=views)
    wrong = ["train.augment.0: got rotate", "evaluate.views: got horizontal_flip", "predict.views: got horizontal_flip"]
    assert len(found) == (3 if task == "stereo" else 0)
    assert all(fault.startswith(start) for fault, start in zip(found, wrong, strict=False))


@pytest.mark.parametrize("task", TASKS)
def test_a_last_layer_is_fitted_only_where_there_is_one(task: str) -> None:
    whole, phase = faults(task, train={"kind": "fit"}), faults(task, train={"phases": [{"kind": "sgd"}, {"kind": "fit"}]})
    if task == "classification":
        assert whole == phase == []
    else:
        assert [fault.split(", expected")[0] for fault in (*whole, *phase)] == ["train.kind: got fit", "train.phases.1.kind: got fit"]


def test_they_are_faults_of_the_recipe(repository: Path) -> None:
    layered = load(repository / "pipelines" / "stereo-samples.yaml", {"train.augment": ["rotate"]})
    with pytest.raises(RequestError, match=r"train\.augment\.0: got rotate, which takes the views off their rows"):
        resolve_layers(layered)
