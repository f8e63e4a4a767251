"""The search stage's own parts: trial recipes, checks, what a search leaves; no trial is run here."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import cvflow.project.project as projects
from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import History
from cvflow.engine.search.conductor import Conductor
from cvflow.engine.session import Point
from cvflow.errors import CvflowError, RequestError
from cvflow.project.graph import Run
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.stages.prepare import prepare
from cvflow.stages.resolve import resolve
from cvflow.stages.tune import check_result
from cvflow.stages.tune.check import check_search
from cvflow.stages.tune.models import ANY_DATA, builds, check_models
from cvflow.stages.tune.objective import search_objective
from cvflow.stages.tune.result import read_results, write_results
from cvflow.stages.tune.space import algorithm_of
from cvflow.stages.tune.trial_recipe import WithoutTest, trial_recipe, with_params
from cvflow.verbs.search import grid_note

SPACE = {
    "search.space.train.optimizer.lr": "loguniform(1e-3, 1)",
    "search.space.model.backbone": "choice(lenet, mlp)",
}
ELSEWHERE = "Leave it out, or type train.optimizer.name=rmsprop, which has it."
SHARED = "All trials share one dataset"
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def base(**overrides: Any) -> dict[str, Any]:
    return resolve_layers(load(projects.locate("digits"), overrides)).recipe


def section(recipe: dict[str, Any]) -> Any:
    return Recipe.model_validate({key: value for key, value in recipe.items() if key != "cvflow"}).search


@pytest.fixture
def run(project: Path) -> Run:
    """A run with a space, prepared."""
    projects.write_entry(
        "digits", projects.make_entry(projects.adopt(projects.locate("digits")), {**SPACE, "train.epochs": 3})
    )
    run = Run("digits")
    resolve(run)
    prepare(run)
    return run


def test_who_writes_a_grid_and_searches_otherwise_is_told() -> None:
    assert "type --algorithm grid" in grid_note("random", {"seed": "grid(1, 2)", "train.epochs": 3})
    assert grid_note("grid", {"seed": "grid(1, 2)"}) == grid_note("random", {"seed": "choice(1, 2)"}) == ""


def test_a_component_that_changed_has_its_own_defaults() -> None:
    recipe = with_params(base(), {"train.optimizer.lr": 0.5, "train.optimizer": "adam", "seed": 3})
    assert recipe["train"]["optimizer"] == {"name": "adam", "lr": 0.5}
    assert recipe["seed"] == 3
    assert "cvflow" not in recipe
    again = with_params(base(), {"train.optimizer.momentum": 0.1})["train"]["optimizer"]
    assert (again["momentum"], again["lr"]) == (0.1, 0.05)


def test_params_that_make_no_recipe_together_are_refused() -> None:
    assert trial_recipe(base(), {"train.optimizer.momentum": 0.1})["train"]["optimizer"]["momentum"] == 0.1
    with pytest.raises(RequestError, match="train.optimizer.momentum"):
        trial_recipe(base(), {"train.optimizer": "adam", "train.optimizer.momentum": 0.1})


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
    said = "got the unknown key 'population', expected one of startup.* Leave it out, or type search.algorithm.name=cmaes, which"
    for typed in (
        {"search.algorithm": {"name": "tpe", "population": 4}},
        {"search.algorithm.population": 4, "search.algorithm": "tpe"},  # as with --algorithm tpe
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
        ({"algorithm": "grid", "max_epochs": 21}, []),  # the last begins before they are used up
        ({"algorithm": "grid", "max_epochs": 6, "scheduler": "asha"}, []),  # which may end each after one
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
        ({"image.size": [2, 2]}, ""),  # the model itself cannot be built, which is no fault of the search
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


def test_what_is_compared_and_what_can_be_built(run: Run) -> None:
    dataset = PreparedDataset(run.path("data"))
    search = run.recipe.search
    assert search_objective(run.resolved, search, dataset) == ("accuracy", "max")
    assert search_objective(run.resolved, search.model_copy(update={"metric": "loss"}), dataset) == (
        "loss",
        "min",
    )
    with pytest.raises(RequestError, match="Did you mean 'accuracy'"):
        search_objective(run.resolved, search.model_copy(update={"metric": "acuracy"}), dataset)
    check_models(run.resolved, search, dataset)
    small = base(**{"search.space.image.size": [[24, 24], [2, 2]]})
    with pytest.raises(RequestError) as caught:
        check_models(small, section(small), dataset)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].where.startswith("search.space.image.size")


def test_a_trial_cannot_read_the_test_split(run: Run) -> None:
    dataset = WithoutTest(run.path("data"))
    assert len(dataset.split("val")) > 0
    with pytest.raises(CvflowError, match="asked for the test split"):
        dataset.split("test")


@pytest.fixture
def searched(run: Run, tmp_path: Path) -> Callable[[str], Conductor]:
    """A search of twelve trials whose scores are drawn, the last one failed."""

    def make(algorithm: str) -> Conductor:
        search = run.recipe.search.model_copy(update={"samples": 12})
        objective = search_objective(run.resolved, search, PreparedDataset(run.path("data")))
        conductor = Conductor(search, objective, algorithm_of(run.resolved, search), tmp_path / algorithm)
        scores = random.Random(0)
        while (trial := conductor.ask()) is not None:
            summary = {"epoch": 1.0, "val_accuracy": scores.random(), "val_loss": 1.0}
            History(conductor.trial_folder(trial.number) / "history.jsonl").append([Point(1, 0.0, summary)])
            conductor.end(
                trial.number,
                "failed" if trial.number == 11 else "done",
                "no <memory>" if trial.number == 11 else "",
            )
        return conductor

    return make


def test_what_a_search_leaves(run: Run, searched: Callable[[str], Conductor]) -> None:
    conductor = searched("random")
    page = write_results(run, conductor)
    said = read_results(run)
    scores = [trial["score"] for trial in said["trials"]]
    assert scores[:11] == sorted(scores[:11], reverse=True)
    assert scores[11] is None
    best = said["trials"][0]["params"]
    recipe = resolve_layers(load(run.path("search") / "best.yaml", {})).recipe
    assert recipe["train"]["optimizer"]["lr"] == best["train.optimizer.lr"]
    assert recipe["model"]["backbone"]["name"] == best["model.backbone"]
    assert recipe["train"]["epochs"] == 3  # as typed for the search
    assert recipe["register"]["model"] == "digits"
    assert recipe["search"]["space"] == {}
    for title in ("Ranking", "Course", "Importance", "Failed", "no &lt;memory&gt;"):
        assert title in page
    assert f'<td title="{best["train.optimizer.lr"]!r}">{best["train.optimizer.lr"]:.4g}</td>' in page
    assert page.count('class="line"') == 2 + 11  # the course, and a line a trial


def test_a_search_without_a_score_leaves_no_best(run: Run, tmp_path: Path) -> None:
    search = run.recipe.search.model_copy(update={"samples": 1})
    objective = search_objective(run.resolved, search, PreparedDataset(run.path("data")))
    conductor = Conductor(search, objective, algorithm_of(run.resolved, search), tmp_path / "none")
    conductor.ask()
    conductor.end(0, "failed", "no")
    assert "no" in write_results(run, conductor)
    assert not (run.path("search") / "best.yaml").exists()
    assert yaml.safe_load((run.path("search") / "trials.json").read_text())["trials"][0]["reason"] == "no"
    with pytest.raises(CvflowError, match="all 1 trials failed:\nno$"):
        check_result(conductor)


def test_limits_under_which_no_trial_begins_are_named(run: Run, tmp_path: Path) -> None:
    search = run.recipe.search.model_copy(update={"samples": 1, "max_hours": 1e-12})
    objective = search_objective(run.resolved, search, PreparedDataset(run.path("data")))
    conductor = Conductor(search, objective, algorithm_of(run.resolved, search), tmp_path / "none")
    assert conductor.ask() is None
    write_results(run, conductor)
    assert read_results(run)["trials"] == []
    with pytest.raises(
        CvflowError, match="no trial began: search.max_hours=1e-12 are over. With a higher limit"
    ):
        check_result(conductor)
