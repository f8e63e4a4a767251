"""The typed recipe: merging, phases, short forms, faults."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvflow.config import Recipe, Train, merge
from cvflow.errors import Fault
from cvflow.registry import Component, faults_of

SMALLEST: dict[str, Any] = {"task": "classification", "data": {"format": "digits"}}


def faults(data: dict[str, Any]) -> list[Fault]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(data)
    return faults_of(caught.value, Recipe)


def test_mappings_merge_deeply_and_leave_the_base_alone() -> None:
    base = {"train": {"epochs": 5, "optimizer": {"name": "sgd", "lr": 0.1}}, "seed": 1}
    over = {"train": {"optimizer": {"lr": 0.2}}}
    assert merge(base, over) == {"train": {"epochs": 5, "optimizer": {"name": "sgd", "lr": 0.2}}, "seed": 1}
    assert base == {"train": {"epochs": 5, "optimizer": {"name": "sgd", "lr": 0.1}}, "seed": 1}
    assert over == {"train": {"optimizer": {"lr": 0.2}}}


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        pytest.param(["a", "b"], ["c"], ["c"], id="lists replace"),
        pytest.param(
            {"name": "sgd", "lr": 0.1},
            {"name": "adamw"},
            {"name": "adamw"},
            id="another name resets the options",
        ),
        pytest.param(
            {"name": "sgd", "lr": 0.1},
            {"name": "sgd", "momentum": 0},
            {"name": "sgd", "lr": 0.1, "momentum": 0},
            id="same name",
        ),
        pytest.param({"name": "sgd", "lr": 0.1}, "adamw", "adamw", id="another name in short form"),
        pytest.param("sgd", {"lr": 0.1}, {"name": "sgd", "lr": 0.1}, id="options for a short form"),
        pytest.param("sgd", {"name": "adamw"}, {"name": "adamw"}, id="another name for a short form"),
        pytest.param(
            {"lr": 0.1}, {"name": "adamw"}, {"lr": 0.1, "name": "adamw"}, id="a name where none was"
        ),
        pytest.param({"a": 1}, None, None, id="null replaces"),
        pytest.param(None, {"a": 1}, {"a": 1}, id="a mapping over nothing"),
    ],
)
def test_merge_rules(old: Any, new: Any, merged: Any) -> None:
    assert merge({"key": old}, {"key": new}) == {"key": merged}


def test_the_smallest_recipe_fills_in_the_rest() -> None:
    recipe = Recipe.model_validate(SMALLEST)
    assert recipe.task == Component(name="classification")
    assert recipe.model.name == "classifier"
    assert recipe.compute.workers == 0
    assert recipe.model_dump(by_alias=True)["register"]["promote"]["better_than_champion"] is True


def test_a_dumped_recipe_reads_back_the_same() -> None:
    recipe = Recipe.model_validate(
        SMALLEST
        | {
            "model": {"backbone": {"name": "mlp", "hidden": [3]}},
            "train": {"phases": [{"epochs": 2, "freeze": "backbone"}, {}]},
        }
    )
    assert Recipe.model_validate(recipe.model_dump(mode="json", by_alias=True)) == recipe


def test_all_faults_come_together_with_their_paths() -> None:
    found = faults(
        {
            "task": "classification",
            "data": {"format": "digits", "split": {"vall": 0.1}},
            "trian": {"epochs": 3},
            "train": {"epochs": -1, "batch_size": "many"},
            "image": {"size": [224]},
        }
    )
    by_key = {fault.where: fault for fault in found}
    assert set(by_key) == {"data.split.vall", "trian", "train.epochs", "train.batch_size", "image.size"}
    assert by_key["data.split.vall"].fix == "Did you mean 'val'?"
    assert by_key["trian"].fix == "Did you mean 'train'?"
    assert by_key["train.epochs"] == Fault("train.epochs", "-1", "greater than or equal to 0")
    assert by_key["train.batch_size"].got == "'many'"


@pytest.mark.parametrize("size", [20, [224], "20x30", [0, 9], None])
def test_a_size_that_is_none_says_what_to_type(size: object) -> None:
    typed = "[20,20]" if size == 20 else "[224,224]"
    (fault,) = faults({"task": "t", "data": {"format": "f"}, "image": {"size": size}})
    assert (
        str(fault) == f"image.size: got {size!r}, expected [height, width], "
        f"two counts of pixels. Type image.size={typed}."
    )
    if size is not None:
        (fault,) = faults({"task": "t", "data": {"format": "f"}, "train": {"phases": [{"image_size": size}]}})
        assert fault.where == "train.phases.0.image_size"
        assert fault.expected.startswith("[height, width]")


def test_what_is_required_is_asked_for() -> None:
    assert {(fault.where, fault.got) for fault in faults({})} == {("task", "nothing"), ("data", "nothing")}


@pytest.mark.parametrize(
    ("key", "value"),
    [("val", 1.0), ("val", -0.1), ("test", 1.1)],
)
def test_split_fractions_have_a_range(key: str, value: float) -> None:
    assert [f.where for f in faults({"task": "t", "data": {"format": "f", "split": {key: value}}})] == [
        f"data.split.{key}"
    ]


def test_one_phase_unless_several_are_given() -> None:
    train = Train(epochs=7, optimizer=Component.model_validate({"name": "sgd", "lr": 0.2}))
    (phase,) = train.plan()
    assert (phase.epochs, phase.optimizer.options, phase.freeze) == (7, {"lr": 0.2}, "none")


def test_a_phase_holds_what_it_does_not_override() -> None:
    train = Train.model_validate(
        {
            "epochs": 7,
            "optimizer": {"name": "sgd", "lr": 0.2, "momentum": 0.5},
            "phases": [
                {"freeze": "backbone", "epochs": 1},
                {"optimizer": {"lr": 0.02}},
                {"optimizer": "adamw"},
            ],
        }
    )
    first, second, third = train.plan()
    assert (first.freeze, first.epochs, first.optimizer.options) == (
        "backbone",
        1,
        {"lr": 0.2, "momentum": 0.5},
    )
    assert (second.freeze, second.epochs, second.optimizer.options) == (
        "none",
        7,
        {"lr": 0.02, "momentum": 0.5},
    )
    assert (third.optimizer.name, third.optimizer.options) == ("adamw", {})


def test_every_wrong_phase_is_named_by_its_place() -> None:
    found = faults(SMALLEST | {"train": {"phases": [{"epochs": -2}, {"batch_size": 3}, {}]}})
    assert found == [
        Fault("train.phases.0.epochs", "-2", "greater than or equal to 0"),
        Fault(
            "train.phases.1.batch_size",
            "3",
            "one of epochs, freeze, image_size, kind, optimizer, patience, schedule, warmup_epochs",
        ),
    ]
