"""A search is checked before anything starts: each wrong key, value, limit and metric is named."""

from __future__ import annotations

import re
from typing import Any

import pytest

import cvflow.project.project as projects
from cvflow.config import Recipe
from cvflow.errors import RequestError
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.stages.tune.check import check_search
from cvflow.stages.tune.models import ANY_DATA, builds
from cvflow.stages.tune.trial_recipe import with_params
from cvflow.verbs.search import grid_note
from tests.fixtures.searches import SPACE, base, section

ELSEWHERE = "Leave it out, or type train.optimizer.name=rmsprop, which has it."
SHARED = "All trials share one dataset"
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.mark.parametrize(
    ("space", "where", "fix"),
    [
        ({"train.lr": [1]}, "search.space.train.lr", "Did you mean 'train.optimizer.lr'?"),
        ({"predict.batch_size": [1]}, "search.space.predict.batch_size", "Type it as a plain value."),
        ({"task.name": ["a"]}, "search.space.task.name", "Type it as a plain value."),
        ({"seed": {"choice": [1], "when": {"train.epoch": 3}}}, "search.space.seed", ""),
        (
            {"data.split.seed": [1]},
            "search.space.data.split.seed",
            f"{SHARED}: type it as a plain value, for a search of its own.",
        ),
        (
            {"train.batch_size": "uniform(8, 64)"},
            "search.space.train.batch_size",
            "Type int(8,64) for whole numbers.",
        ),
        (
            {"train.epochs": "loguniform(1, 16)"},
            "search.space.train.epochs",
            "Type logint(1,16) for whole numbers.",
        ),
        ({"train.optimizer": ["sgdd", "adam"]}, "search.space.train.optimizer name", "Did you mean 'sgd'?"),
        (
            {"train.optimizer.momentum": {"choice": [0.5], "when": {"train.optimizer": "adam"}}},
            "search.space.train.optimizer.momentum",
            ELSEWHERE,
        ),
    ],
)
def test_each_wrong_key_and_value_is_named(space: dict[str, Any], where: str, fix: str) -> None:
    recipe = base(**{f"search.space.{key}": value for key, value in space.items()})
    with pytest.raises(RequestError) as caught:
        check_search(recipe, section(recipe))
    (fault,) = caught.value.faults
    assert fault.where == where
    assert fault.fix == fix


def test_two_algorithms_options_are_not_mixed() -> None:
    said = (
        "got the unknown key 'population', expected one of startup.* "
        "Leave it out, or type search.algorithm.name=cmaes, which"
    )
    for typed in (
        {"search.algorithm": {"name": "tpe", "population": 4}},
        # as with --algorithm tpe
        {"search.algorithm.population": 4, "search.algorithm": "tpe"},
    ):
        with pytest.raises(RequestError, match=said):
            base(**SPACE, **typed)


def test_an_option_stays_whether_the_name_is_typed_before_it_or_after() -> None:
    named, option = ("search.algorithm", "evolution"), ("search.algorithm.population", 4)
    for typed in ([named, option], [option, named]):
        assert section(base(**SPACE, **dict(typed))).algorithm.options["population"] == 4


def test_faults_of_every_kind_are_said_at_once() -> None:
    keys = {
        "search.space.train.lr": [1],
        "search.space.image.size": [[8, 8], [2, 2]],
        "search.space.seed": [1, 2],
    }
    recipe = base(
        **keys, **{"search.algorithm": "grid", "search.samples": 3, "data.split.train_on_val": True}
    )
    with pytest.raises(RequestError) as caught:
        check_search(recipe, section(recipe))
    found = [fault.where for fault in caught.value.faults]
    assert found == [
        "search.space.train.lr",
        "search.samples",
        "data.split.train_on_val",
        "search.space.image.size image.size",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"metric": "macro_f2"},
            ["search.metric: got 'macro_f2', expected one of .*. Did you mean 'macro_f1'?"],
        ),
        ({"metric": "xyz"}, ["search.metric: got 'xyz', expected one of .*. Type search.metric=accuracy."]),
        ({"metric": "top5_accuracy"}, []),
        ({"metric": "loss"}, []),
        (
            {"algorithm": "grid", "max_epochs": 20},
            ["search.max_epochs: got 20 epochs for a grid of 6 points of 4 or more each, .* 24."],
        ),
        # the last begins before they are used up
        ({"algorithm": "grid", "max_epochs": 21}, []),
        # which may end each after one
        ({"algorithm": "grid", "max_epochs": 6, "scheduler": "asha"}, []),
        ({"algorithm": "random", "max_epochs": 5}, []),
    ],
)
def test_what_no_trial_reports_and_what_the_limits_do_not_pay_for(
    options: dict[str, Any], expected: list[str]
) -> None:
    written = {f"search.{key}": value for key, value in options.items()}
    space = {"search.space.train.epochs": [4, 5], "search.space.seed": [1, 2, 3]}
    recipe = base(**space, **written)
    try:
        check_search(recipe, section(recipe))
        found = []
    except RequestError as error:
        found = [str(fault) for fault in error.faults]
    assert len(found) == len(expected)
    assert all(
        re.search(pattern.replace("?", r"\?"), said) for pattern, said in zip(expected, found, strict=True)
    ), found


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"search.space.image.size": [[24, 24], [2, 2]]}, "search.space.image.size"),
        (
            {"data.split.train_on_val": True},
            "data.split.train_on_val: got true, which leaves no val split, expected images to compare",
        ),
        (
            {"data.split.test": 1},
            "data.split.test: got 1, which leaves no val split, .* Type data.split.test=0.2.",
        ),
        ({"data.split.val": 0}, ""),  # the data may have a val split of its own
        # the model itself cannot be built, which is no fault of the search
        ({"image.size": [2, 2]}, ""),
    ],
)
def test_what_can_be_known_without_data_is_refused_before_any_is_prepared(
    written: dict[str, Any], expected: str
) -> None:
    recipe = base(**{**SPACE, **written})
    if not expected:
        check_search(recipe, section(recipe))
        return
    with pytest.raises(RequestError) as caught:
        check_search(recipe, section(recipe))
    (fault,) = caught.value.faults
    assert re.search(expected, str(fault))


@pytest.mark.parametrize("name", projects.shipped())
def test_the_model_of_every_shipped_recipe_can_be_tried_without_data(name: str) -> None:
    recipe = resolve_layers(load(projects.locate(name), {})).recipe
    assert builds(Recipe.model_validate(with_params(recipe, {})), ANY_DATA)


def test_a_condition_makes_a_key_right() -> None:
    written = {"choice": [0.1, 0.9], "when": {"train.optimizer": "sgd"}}
    recipe = base(
        **{
            "search.space.train.optimizer": "choice(adam, sgd)",
            "search.space.train.optimizer.momentum": written,
        }
    )
    check_search(recipe, section(recipe))


def test_population_based_training_takes_only_what_may_change_under_way() -> None:
    recipe = base(**SPACE, **{"search.scheduler": "pbt", "compute.workers": 2})
    with pytest.raises(RequestError) as caught:
        check_search(recipe, section(recipe))
    assert [fault.where for fault in caught.value.faults] == [
        "search.scheduler",
        "search.space.model.backbone",
    ]


def test_who_writes_a_grid_and_searches_otherwise_is_told() -> None:
    assert "type --algorithm grid" in grid_note("random", {"seed": "grid(1, 2)", "train.epochs": 3})
    assert grid_note("grid", {"seed": "grid(1, 2)"}) == grid_note("random", {"seed": "choice(1, 2)"}) == ""
