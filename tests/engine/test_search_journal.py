"""The journal and the conductor: what is next, what became of it, and that a kill loses nothing."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cvflow.engine.checkpoint import Checkpoint, CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.engine.search.journal import Journal, Trial
from cvflow.engine.search.space import Space
from cvflow.engine.session import Point
from cvflow.registry import build
from cvflow.space import Search
from cvflow.types import Objective

LOSS = Objective("loss", "min")


def conduct(folder: Path, objective: Objective = LOSS, **options: Any) -> Conductor:
    search = Search.model_validate(
        {"space": {"lr": "loguniform(1e-3, 1)", "width": "int(1, 9)"}, "algorithm": "evolution", **options}
    )
    return Conductor(
        search, objective, build("searcher", search.algorithm, Space(search.space, {}), search.seed), folder
    )


def report(conductor: Conductor, number: int, losses: list[float]) -> None:
    """A trial's history: an epoch a loss."""
    points = [
        Point(10 * e, 0.0, {"epoch": float(e), "val_loss": loss, "val_accuracy": 1 - loss})
        for e, loss in enumerate(losses, 1)
    ]
    History(conductor.trial_folder(number) / "history.jsonl").append(points)


def run(conductor: Conductor, order: random.Random, until: int = 10**9) -> None:
    """Run as many trials at once as may be, of which a random one ends next; give up after ``until`` ends."""
    running: list[Trial] = []
    for _ in range(until):
        while len(running) < conductor.search.concurrency and (trial := conductor.ask()) is not None:
            running.append(trial)
        if not running:
            return
        trial = running.pop(order.randrange(len(running)))
        report(conductor, trial.number, [abs(trial.params["lr"] - 0.1) + abs(trial.params["width"] - 3)])
        conductor.end(trial.number, "done")


def suggested(conductor: Conductor) -> list[Any]:
    return [trial.suggested for trial in conductor.trials]


def test_the_same_suggestions_whatever_ends_first_and_however_often_it_is_broken_off(tmp_path: Path) -> None:
    whole = conduct(tmp_path / "whole", samples=40)
    run(whole, random.Random(0))
    other = conduct(tmp_path / "other", samples=40)
    run(other, random.Random(1))
    for until in (1, 5, 16, 1000):
        run(conduct(tmp_path / "broken", samples=40), random.Random(until), until)
    broken = conduct(tmp_path / "broken", samples=40)
    assert len(whole.trials) == 40
    assert suggested(whole) == suggested(other) == suggested(broken)
    assert all(trial.ended for trial in broken.trials)
    assert broken.ask() is None
    assert broken.finished


def test_a_trial_waits_for_the_one_that_lies_the_lag_before_it(tmp_path: Path) -> None:
    conductor = conduct(tmp_path, concurrency=2)
    assert [trial.number for trial in (conductor.ask(), conductor.ask()) if trial] == [0, 1]
    assert conductor.ask() is None
    conductor.end(1, "failed", "no")
    assert conductor.ask() is None  # trial 2 reads the result of trial 0
    conductor.end(0, "failed", "no")
    assert getattr(conductor.ask(), "number", None) == 2


def test_an_algorithm_that_needs_no_results_waits_for_nobody(tmp_path: Path) -> None:
    conductor = conduct(tmp_path, algorithm="random", concurrency=1, samples=3)
    assert [getattr(conductor.ask(), "number", None) for _ in range(4)] == [0, 1, 2, None]
    assert conductor.finished


def test_what_was_broken_off_is_run_again_first_and_what_ended_is_not(tmp_path: Path) -> None:
    first = conduct(tmp_path, samples=6)
    trials = [trial for trial in (first.ask(), first.ask(), first.ask()) if trial]
    report(first, 1, [0.5])
    first.end(1, "done")
    again = conduct(tmp_path, samples=6)
    asked = [trial for trial in (again.ask(), again.ask(), again.ask()) if trial]
    assert [trial.number for trial in asked] == [0, 2, 3]
    assert asked[0].params == trials[0].params


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path, cut: int) -> None:
    conductor = conduct(tmp_path, samples=3)
    for _ in range(3):
        conductor.ask()
    path = conductor.journal.path
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(Journal(path).trials) == 2
    run(conduct(tmp_path, samples=3), random.Random(0))
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [e["trial"] for e in entries if e["event"] == "suggested"] == [0, 1, 2]


def test_the_score_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    conductor = conduct(tmp_path)
    for _ in range(4):
        conductor.ask()
    report(conductor, 0, [0.5, 0.2, float("nan"), 0.3])
    report(conductor, 1, [0.4])
    for number in range(3):
        conductor.end(number, "done")
    conductor.end(3, "failed", "the loss is not finite")
    first, _, nothing, failed = conductor.trials
    assert (first.score, first.epoch, first.epochs, first.metrics["val_accuracy"]) == (0.2, 2, 4, 0.8)
    assert (nothing.state, nothing.reason, nothing.score) == (
        "failed",
        "it reported no epoch with a finite val_loss",
        None,
    )
    assert failed.reason == "the loss is not finite"
    assert [trial.number for trial in ranked(conductor.trials, LOSS)] == [0, 1]
    assert [trial.number for trial in ranked(conductor.trials, Objective("accuracy", "max"))] == [
        1,
        0,
    ]  # by score alone


def test_a_trial_that_was_broken_off_ranks_by_what_it_reached(tmp_path: Path) -> None:
    conductor = conduct(tmp_path)
    for _ in range(3):
        conductor.ask()
    report(conductor, 0, [0.5])
    conductor.end(0, "done")
    conductor.saw(1, 1, 0.4)
    assert [(trial.number, trial.ended) for trial in ranked(conductor.trials, LOSS)] == [
        (1, False),
        (0, True),
    ]


def test_limits_end_the_search_and_a_greater_number_of_samples_goes_on(tmp_path: Path) -> None:
    run(conduct(tmp_path, samples=30, max_epochs=7), random.Random(0))
    limited = conduct(tmp_path, samples=30, max_epochs=7)
    assert len(limited.trials) < 12
    assert limited.ask() is None
    assert "max_epochs=7" in limited.closed
    more = conduct(tmp_path, samples=13)
    run(more, random.Random(0))
    assert len(more.trials) == 13


def test_when_the_hours_are_over_what_runs_ends_no_trial_begins_and_the_same_search_goes_on_later(
    tmp_path: Path,
) -> None:
    limited = conduct(tmp_path, samples=3, max_hours=0.5 / 3600)
    assert limited.ask() is not None
    time.sleep(0.6)
    assert limited.ask() is None
    assert limited.finished
    assert limited.closed == "search.max_hours=0.000138889 are over"
    report(limited, 0, [0.5])
    limited.end(0, "done")
    more = conduct(tmp_path, samples=3, max_hours=1)
    assert not more.finished
    run(more, random.Random(0))
    assert [(trial.number, trial.state) for trial in more.trials] == [(0, "done"), (1, "done"), (2, "done")]
    assert more.trials[0].score == 0.5
    assert more.closed == ""


def test_the_checkpoints_of_a_trial_go_when_it_ends(tmp_path: Path) -> None:
    conductor = conduct(tmp_path)
    conductor.ask()
    (conductor.trial_folder(0) / "checkpoints" / "step-1").mkdir(parents=True)
    report(conductor, 0, [0.1])
    conductor.end(0, "done")
    assert [path.name for path in conductor.trial_folder(0).iterdir()] == ["history.jsonl"]


@pytest.mark.parametrize(("writer", "source"), [(1, 1), (0, None)], ids=["the donor", "itself, since"])
def test_a_trial_broken_off_before_its_new_params_were_heard_of_goes_on_with_them(
    tmp_path: Path, writer: int, source: int | None
) -> None:
    before = conduct(tmp_path)
    first = before.ask()
    assert first is not None
    params = {"lr": 0.25, "width": 7}
    assert first.params != params
    state = {"step": 8, "source": writer, "params": params}
    CheckpointStore(before.trial_folder(0) / "checkpoints").save(
        8, Checkpoint(state, {"model": {"w": torch.ones(1)}})
    )
    for _ in range(2):  # the second time it is in the journal
        again = conduct(tmp_path).ask()
        assert again is not None
        assert (again.number, again.params, again.source) == (0, params, source)
        assert again.suggested == first.suggested
