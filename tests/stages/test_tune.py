"""The search stage's own parts: trial recipes, the objective, what a search leaves; no trial is run here."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import cvflow.project.project as projects
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
from cvflow.stages.tune.models import check_models
from cvflow.stages.tune.objective import search_objective
from cvflow.stages.tune.result import read_results, write_results
from cvflow.stages.tune.space import algorithm_of
from cvflow.stages.tune.trial_recipe import WithoutTest, trial_recipe, with_params
from tests.fixtures.searches import SPACE, base, section

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


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
