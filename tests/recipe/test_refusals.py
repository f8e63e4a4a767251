"""What a task cannot do is a fault of the recipe, found before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from cvflow.config import Recipe
from cvflow.errors import RequestError
from cvflow.formats.built_in.layered_scenes import LayeredScenes
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.recipe.refusals import refusals
from cvflow.registry import Component, build, forget, get, names, register
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo

TASKS = names("task")


def made(task: str) -> Task:
    found: Task = build("task", Component(name=task))
    return found


def faults(task: str, **sections: Mapping[str, Any]) -> list[str]:
    usual = {"model": made(task).usual_model}
    recipe = Recipe.model_validate({"task": task, "data": {"format": "digits"}, **usual, **sections})
    return [str(fault) for fault in refusals(recipe, made(task))]


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_refused_without_a_reason(task: str) -> None:
    assert (
        faults(
            task,
            train={"augment": ["vertical_flip", "zoom", "colour_jitter"]},
            evaluate={"views": ["five_crops"]},
        )
        == []
    )


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
    assert [fault.split(",")[0] for fault in found] == (
        [f"train.augment.1: got {transform}"] if task in ("stereo", "flow") else []
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_stereo_pair_keeps_its_rows_and_its_sides(task: str) -> None:
    views = {"views": [{"name": "five_crops", "scale": 1.2}, "horizontal_flip"]}
    found = faults(task, train={"augment": ["rotate"]}, evaluate=views, predict=views)
    wrong = [
        "train.augment.0: got rotate",
        "evaluate.views: got horizontal_flip",
        "predict.views: got horizontal_flip",
    ]
    assert len(found) == (3 if task == "stereo" else 0)
    assert all(fault.startswith(start) for fault, start in zip(found, wrong, strict=False))


@pytest.mark.parametrize("task", TASKS)
def test_a_last_layer_is_fitted_only_where_there_is_one(task: str) -> None:
    whole, phase = (
        faults(task, train={"kind": "fit"}),
        faults(task, train={"phases": [{"kind": "sgd"}, {"kind": "fit"}]}),
    )
    if task == "classification":
        assert whole == phase == []
    else:
        assert [fault.split(", expected")[0] for fault in (*whole, *phase)] == [
            "train.kind: got fit",
            "train.phases.1.kind: got fit",
        ]


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_gives_something_else_is_refused(task: str) -> None:
    own = made(task).answer.name
    for model in names("model"):
        found = faults(task, model={"name": model})
        if get("model", model).answer == own:
            assert found == []
        else:
            assert found[0].startswith(f"model.name: got '{model}', expected a model of this task: one of ")
            assert found[0].endswith(f"Type model.name={made(task).usual_model}.")
    assert get("model", made(task).usual_model).answer == own


def test_a_user_s_model_that_does_not_say_what_it_gives_is_taken_for_a_network() -> None:
    def mine(image: Any, info: Any) -> nn.Module:
        return nn.Flatten()

    register("model", "refusals_test_mine")(mine)
    try:
        assert [faults(task, model={"name": "refusals_test_mine"}) for task in TASKS] == [[]] * len(TASKS)
        recipe = Recipe.model_validate(
            {"task": "flow", "data": {"format": "digits"}, "model": {"name": "refusals_test_mine"}}
        )
        with pytest.raises(RequestError, match="expected a model of this task: one of correlation_flow"):
            made("flow").build(recipe, DatasetInfo("flow", (), {}, (), (), ""))
    finally:
        forget(__name__)


@pytest.mark.parametrize("flip", [[], ["horizontal_flip"]], ids=["as it is", "mirrored"])
def test_a_stereo_pair_is_mirrored_only_with_the_right_view_s_map(flip: list[str], project: Path) -> None:
    """KITTI has none. Of test scenes it is not asked."""
    for scene in LayeredScenes(None, count=5, size=(32, 32)):
        for name, read in {**scene.images, **scene.maps}.items():
            suffix = "npz" if name in scene.maps else "png"
            if name != "disparity_right" or scene.id != "scene-00001":
                path = (
                    project / "kitti" / ("test" if scene.split else "train") / name / f"{scene.id}.{suffix}"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(read())
    text = {
        "task": "stereo",
        "data": {"format": "pairs", "source": "kitti"},
        "model": "cost_volume_stereo",
        "train": {"augment": flip},
    }
    recipe = project / "kitti.yaml"
    recipe.write_text(yaml.safe_dump(text))
    if not flip:
        resolve_layers(load(recipe, {}))
        return
    with pytest.raises(
        RequestError,
        match=r"train\.augment\.0: got horizontal_flip, without 'disparity_right' of 'train/scene-00001'",
    ):
        resolve_layers(load(recipe, {}))
    for lost in (project / "kitti/train").glob("*/scene-00001.*"):
        lost.rename(project / "kitti/test" / lost.parent.name / lost.name)
    resolve_layers(load(recipe, {}))


def test_they_are_faults_of_the_recipe(repository: Path) -> None:
    layered = load(repository / "pipelines" / "stereo-samples.yaml", {"train.augment": ["rotate"]})
    with pytest.raises(
        RequestError, match=r"train\.augment\.0: got rotate, which takes the views off their rows"
    ):
        resolve_layers(layered)
