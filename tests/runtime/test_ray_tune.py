"""Real trials in Ray Tune's actors: how each may end, requests to stop, resume, and
population-based training.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from cvflow.config import Compute
from cvflow.engine.checkpoint import Checkpoint, CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.search.conductor import Conductor
from cvflow.engine.search.space import Space
from cvflow.engine.session import Point, Session
from cvflow.errors import CvflowError, Fault, InterruptedRunError, RequestError
from cvflow.registry import build
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.runtime.ray_tune import at_once, run_trials
from cvflow.space import Search
from cvflow.types import Objective

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ACCURACY = Objective("accuracy", "max")
COMPUTE = Compute(threads=1, device="cpu")


def recipe_of(params: dict[str, Any]) -> dict[str, Any]:
    if params["train.optimizer.lr"] == "impossible":
        raise RequestError(Fault("train.optimizer.lr", "impossible", "a number"))
    return params


def work(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """Nine epochs of nothing, each as the engine ends one; from the newest checkpoint on.

    The params say what goes wrong.
    """
    how = recipe["train.optimizer.lr"]
    with Path(dataset).open("a") as log:
        log.write(f"{how} {os.getpid()}\n")
    found = session.checkpoints.latest()
    for epoch in range(found.state["epoch"] + 1 if found else 1, 10):
        if epoch == 3 and how in ACCIDENTS:
            accident(how)
        score = epoch / 10 if isinstance(how, str) else how
        session.report([Point(epoch, time.time(), {"epoch": float(epoch), "val_accuracy": score})])
        state = {"step": epoch, "epoch": epoch, "optimizer": {"param_groups": [{"lr": 0.0, "momentum": 0.5}]}}
        if session.rank == 0:
            session.checkpoints.save(epoch, Checkpoint(state, {"model": {"w": torch.tensor([score])}}))
        if session.should_stop():
            raise InterruptedRunError("asked to")


ACCIDENTS = ("refused", "broken", "memory", "killed")


def accident(how: str) -> None:
    if how == "refused":
        raise CvflowError("the loss is not finite at step 3")
    if how == "broken":
        raise ZeroDivisionError("by zero")
    if how == "memory":
        raise torch.OutOfMemoryError("tried to allocate 9 GB\nmore lines")
    os.kill(os.getpid(), signal.SIGKILL)


def slowly(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """The same, half a second an epoch, so that a word from outside comes in time."""
    ask = session.should_stop

    def should_stop() -> bool:
        time.sleep(0.5)
        return ask()

    session.should_stop = should_stop  # type: ignore[method-assign]
    work(session, recipe, dataset)


def noting(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """The same; each epoch that is done is noted in ``epochs`` beside the log."""
    report = session.report

    def noted(points: Sequence[Point]) -> None:
        with Path(dataset).with_name("epochs").open("a") as file:
            file.writelines(f"{point.step}\n" for point in points)
        report(points)

    session.report = noted  # type: ignore[method-assign]
    work(session, recipe, dataset)


def epochs(log: Path) -> list[int]:
    return [int(line) for line in log.with_name("epochs").read_text().split()]


def conduct(folder: Path, values: list[Any], **options: Any) -> Conductor:
    search = Search.model_validate({"space": {"train.optimizer.lr": values}, "algorithm": "grid", **options})
    return Conductor(
        search, ACCURACY, build("searcher", search.algorithm, Space(search.space, {}), 0), folder
    )


def go(conductor: Conductor, log: Path, compute: Compute = COMPUTE, work: Callable[..., None] = work) -> None:
    scheduler = build("scheduler", conductor.search.scheduler, 9, conductor.search.space)
    run_trials(conductor, scheduler, work, recipe_of, compute, str(log))


def started(log: Path) -> list[str]:
    return [line.split()[0] for line in log.read_text().splitlines()]


def test_however_a_trial_ends_it_is_taken_down_and_the_search_goes_on(tmp_path: Path) -> None:
    conductor = conduct(
        tmp_path / "search", ["good", "refused", "impossible", "broken", "memory", "fine", "killed", "last"]
    )
    go(conductor, tmp_path / "log")
    ends = {trial.params["train.optimizer.lr"]: (trial.state, trial.reason) for trial in conductor.trials}
    assert {how for how, (state, _) in ends.items() if state == "done"} == {"good", "fine", "last"}
    assert ends["refused"] == ("failed", "the loss is not finite at step 3")
    assert ends["broken"] == ("failed", "ZeroDivisionError: by zero")
    assert ends["memory"] == ("failed", "out of memory: tried to allocate 9 GB")
    assert ends["killed"] == ("failed", "its process died (killed, or out of memory)")
    assert "expected a number" in ends["impossible"][1]
    assert conductor.trials[0].score == 0.9
    assert sorted(started(tmp_path / "log")) == sorted(set(ends) - {"impossible"})
    assert len({line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}) < 7, (
        "actors are used again"
    )
    assert not (tmp_path / "search" / "ray").exists()


@pytest.mark.slow
def test_what_the_scheduler_stops_ends_by_itself_and_what_is_left_open_goes_on_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    log, values = tmp_path / "log", [0.9, 0.5, 0.1, 0.95]
    options = {"scheduler": {"name": "asha", "reduction": 2}, "concurrency": 1}
    conductor = conduct(tmp_path / "search", values, **options, max_epochs=9)
    go(conductor, log)
    assert [(trial.state, trial.epochs) for trial in conductor.trials] == [("done", 9)]
    conductor = conduct(tmp_path / "search", values, **options)
    (trial,) = filter(None, [conductor.ask()])
    folder = conductor.trial_folder(trial.number)
    folder.mkdir(parents=True)
    go(conduct(tmp_path / "search", values, **options), log)
    conductor = conduct(tmp_path / "search", values, **options)
    assert [(t.state, t.epochs) for t in conductor.trials] == [
        ("done", 9),
        ("stopped", 1),
        ("stopped", 1),
        ("done", 9),
    ]
    assert started(log) == [
        "0.9",
        "0.5",
        "0.1",
        "0.95",
    ]  # the first, of an earlier session, was remembered by the scheduler


def test_the_median_rule_stops_what_lags_behind(tmp_path: Path) -> None:
    options = {"scheduler": {"name": "median", "grace": 2, "least": 2}, "concurrency": 1}
    conductor = conduct(tmp_path / "search", [0.5, 0.7, 0.8, 0.1, 0.9], **options)
    go(conductor, tmp_path / "log")
    ends = [(trial.state, trial.epochs) for trial in conductor.trials]
    assert ends == [("done", 9), ("done", 9), ("done", 9), ("stopped", 2), ("done", 9)]


@pytest.mark.slow
def test_a_trial_that_was_broken_off_goes_on_from_its_checkpoint_and_does_no_epoch_twice(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    conductor = conduct(tmp_path / "search", [0.9])
    (trial,) = filter(None, [conductor.ask()])
    folder = conductor.trial_folder(trial.number)
    session = LocalSession(
        COMPUTE,
        CheckpointStore(folder / "checkpoints"),
        History(folder / "history.jsonl"),
        Console(StringIO()),
    )
    session.should_stop = lambda: (folder / "checkpoints/step-000000004").exists()  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError):
        noting(session, trial.params, str(log))
    assert epochs(log) == [1, 2, 3, 4]
    go(conduct(tmp_path / "search", [0.9]), log, work=noting)
    assert epochs(log) == list(range(1, 10))
    conductor = conduct(tmp_path / "search", [0.9])
    assert [(t.state, t.epochs, t.score) for t in conductor.trials] == [("done", 9, 0.9)]
    assert list(conductor.scores(0)) == list(range(1, 10))


def test_more_than_the_machine_has_is_refused(tmp_path: Path) -> None:
    search = Search.model_validate({"space": {"seed": [1]}, "cpus": 1000})
    with pytest.raises(RequestError, match="search.cpus: got 1000 a trial, expected at most"):
        at_once(search, COMPUTE)
    assert at_once(search.model_copy(update={"cpus": 0.001, "concurrency": 3}), COMPUTE) == 3


@pytest.mark.slow
def test_population_based_training_hands_weights_on_with_new_params(tmp_path: Path) -> None:
    search = {"algorithm": "random", "scheduler": {"name": "pbt", "every": 2, "quantile": 0.5}, "samples": 4}
    made = Search.model_validate({"space": {"train.optimizer.lr": "uniform(0.1, 0.9)"}, **search})
    conductor = Conductor(
        made, ACCURACY, build("searcher", made.algorithm, Space(made.space, {}), 0), tmp_path / "search"
    )
    go(conductor, tmp_path / "log")
    assert all(trial.state == "done" and trial.epochs == 9 for trial in conductor.trials)
    changed = [trial for trial in conductor.trials if trial.params != trial.suggested]
    assert changed
    assert all(0.1 <= trial.params["train.optimizer.lr"] <= 0.9 for trial in conductor.trials)


@pytest.mark.slow
def test_a_trial_on_two_workers_is_stopped_and_leaves_nothing_behind(tmp_path: Path) -> None:
    conductor = conduct(tmp_path / "search", ["refused", 0.9, 0.1], scheduler="asha", concurrency=1)
    go(conductor, tmp_path / "log", COMPUTE.model_copy(update={"workers": 2}))
    failed, done, stopped = conductor.trials
    assert (failed.state, failed.reason) == ("failed", "the loss is not finite at step 3")
    assert (done.state, done.epochs) == ("done", 9)
    # it is short, and does not wait for the scheduler's word
    assert stopped.state in ("stopped", "done")
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler", ["asha", {"name": "median", "grace": 1, "least": 1}], ids=["asha", "median"]
)
def test_a_trial_on_two_workers_is_stopped_in_mid_run_and_frees_what_it_held(
    tmp_path: Path, scheduler: Any
) -> None:
    """By the scheduler's verdict, which comes while the nested run trains; its controller, workers
    and bundles go.
    """
    check_stopped_in_mid_run(tmp_path, scheduler)


@pytest.mark.slow
def test_beside_ray_s_dashboard_too_a_trial_on_two_workers_is_stopped_in_mid_run(
    tmp_path: Path, dashboard: str | None
) -> None:
    """On a cluster that a user started: without the dashboard, Ray's own way of stopping a nested
    trial would hang.
    """
    check_stopped_in_mid_run(tmp_path, "asha")
    if dashboard is not None:
        with urllib.request.urlopen(dashboard, timeout=20) as page:
            assert page.status == 200


def check_stopped_in_mid_run(path: Path, scheduler: Any) -> None:
    """Two trials on two workers each, one after the other; the second is worse."""
    conductor = conduct(path / "search", [0.9, 0.1], scheduler=scheduler, concurrency=1)
    go(conductor, path / "log", COMPUTE.model_copy(update={"workers": 2}), slowly)
    done, stopped = conductor.trials
    assert (done.state, done.epochs) == ("done", 9)
    assert stopped.state == "stopped"
    assert 1 <= stopped.epochs < 9
    workers = {int(line.split()[1]) for line in (path / "log").read_text().splitlines()}
    assert len(workers) == 4
    until = time.monotonic() + 20
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"] and time.monotonic() < until:
        time.sleep(0.5)
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
    assert {group["state"] for group in ray.util.placement_group_table().values()} == {"REMOVED"}
    for worker in filter(psutil.pid_exists, workers):
        # ended, and nobody reaped it
        assert psutil.Process(worker).status() == psutil.STATUS_ZOMBIE
