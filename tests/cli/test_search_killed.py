"""A search that is killed, or runs out of its time: the same command goes on, and takes no epoch twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import read_history

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]
Cvflow = Callable[..., subprocess.CompletedProcess[str]]
CVFLOW = str(Path(sys.executable).parent / "cvflow")
STEPS_AN_EPOCH, EPOCHS, TRIALS = 12, 3, 8
SEARCH = (
    "tune",
    "mine.yaml",
    "seed=int(1,999999)",
    "train.epochs=3",
    "train.optimizer.lr=0.003",
    "compute.device=cpu",
    "search.metric=loss",
    "search.concurrency=2",
    "search.algorithm={name: evolution, population: 3}",
)
AGENTS = ("ray::Dashboard", "ray::RuntimeEnv")
"""Of Ray's processes those that train nothing, and may take half a minute to see that the others are gone."""


@dataclass(frozen=True)
class Snapshot:
    """Where a search stands. steps: taken so far, by trial; kept: the step of an open trial's
    newest checkpoint.
    """

    journal: list[dict[str, Any]]
    ended: list[int]
    steps: Counter[int]
    kept: dict[int, int]


def snapshot(search: Any) -> Snapshot:
    numbers = {
        entry["params"]["seed"]: entry["trial"] for entry in search.journal() if entry["event"] == "suggested"
    }
    found = Snapshot(
        search.journal(), search.ended(), Counter(numbers[seed] for seed in noted(search.path)), {}
    )
    for number in set(numbers.values()) - set(found.ended):
        (folder,) = search.path.glob(".cvflow/tune/*")
        checkpoint = CheckpointStore(folder / f"trials/{number:04}/checkpoints").latest()
        found.kept[number] = checkpoint.state["step"] if checkpoint else 0
    return found


def noted(path: Path) -> list[int]:
    """The seeds of the steps that were taken."""
    return (
        [int(line) for line in (path / "steps").read_text().splitlines()] if (path / "steps").exists() else []
    )


def killed(search: Any, moment: Callable[[], bool], driver_alone: bool) -> Snapshot:
    """Start the search, and kill -9 it at the moment: the process that drives the trials, or the
    whole group.
    """
    log, variables = search.path / "log.txt", os.environ | {"STEPS": str(search.path / "steps")}
    with log.open("w") as out:
        process = psutil.Popen(
            [CVFLOW, *SEARCH, "--samples", str(TRIALS)],
            cwd=search.path,
            env=variables,
            start_new_session=True,
            stdout=out,
            stderr=out,
        )
    while not moment():
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    said = {child: command(child) for child in process.children(recursive=True)}
    started = [child for child, words in said.items() if words and not words[0].startswith(AGENTS)]
    drivers = [child.pid for child in started if "stage" in said[child]]
    if driver_alone and drivers:
        os.kill(drivers[0], signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(60) != 0
    until = time.monotonic() + 30
    while left := list(filter(alive, started)):
        assert time.monotonic() < until, f"left behind: {left}"
        time.sleep(0.05)
    return snapshot(search)


def command(process: psutil.Process) -> list[str]:
    """Empty where it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def alive(process: psutil.Process) -> bool:
    """Orphans that have ended stay zombies where nobody reaps them."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def moments(search: Any) -> list[Callable[[], Callable[[], bool]]]:
    """Drawn moments; each is made when its command starts.

    The second is in the middle of trials that have a checkpoint.
    """
    draw = random.Random(20)

    def in_seconds(seconds: float) -> Callable[[], bool]:
        until = time.monotonic() + seconds
        return lambda: time.monotonic() > until

    def after_steps(count: int) -> Callable[[], bool]:
        wanted = len(noted(search.path)) + count
        return lambda: len(noted(search.path)) >= wanted

    def after_entries(count: int) -> Callable[[], bool]:
        wanted = len(search.journal()) + count
        return lambda: len(search.journal()) >= wanted

    seconds, steps, entries = draw.uniform(1, 8), draw.sample(range(4, 40), 2), draw.randint(1, 3)
    return [
        lambda: in_seconds(seconds),
        lambda: after_steps(2 * STEPS_AN_EPOCH + 6),  # of two trials side by side
        lambda: after_steps(steps[0]),
        lambda: after_entries(entries),
        lambda: after_steps(steps[1]),
    ]


def test_killed_at_any_moment_it_goes_on_and_no_epoch_is_trained_twice(
    noting: Path, tmp_path_factory: pytest.TempPathFactory, cvflow: Cvflow, search_in: Any
) -> None:
    """What an unbroken search suggests and finds; what had ended is as it was; what was broken off
    goes on from its checkpoint.
    """
    unbroken, broken = search_in(tmp_path_factory.mktemp("unbroken")), search_in(noting)
    shutil.copytree(noting, unbroken.path, dirs_exist_ok=True)
    cvflow(unbroken.path, *SEARCH, "--samples", str(TRIALS), STEPS=str(unbroken.path / "steps"))
    assert snapshot(unbroken).steps == dict.fromkeys(range(TRIALS), EPOCHS * STEPS_AN_EPOCH)
    seen = [snapshot(broken)]
    for number, moment in enumerate(moments(broken)):
        seen.append(killed(broken, moment(), driver_alone=number % 2 == 1))
    assert any(kept > 0 for kept in seen[2].kept.values()), (
        "killed in the middle of a trial that has a checkpoint"
    )
    cvflow(noting, *SEARCH, "--samples", str(TRIALS), STEPS=str(noting / "steps"))
    seen.append(snapshot(broken))
    for before, after in zip(seen, seen[1:], strict=False):
        check_session(before, after)
    for part in ("params", "score", "metrics", "epochs", "tags"):
        assert [trial[part] for trial in broken.trials()] == [trial[part] for trial in unbroken.trials()]
    for history in noting.glob(".cvflow/tune/*/trials/*/history.jsonl"):
        steps = [point.step for _, point in read_history(history) if "epoch" not in point.metrics]
        assert steps == list(range(1, EPOCHS * STEPS_AN_EPOCH + 1))
    assert broken.runs() == unbroken.runs()
    assert broken.runs()[:2] == (TRIALS + 1, TRIALS)


def check_session(before: Snapshot, after: Snapshot) -> None:
    """Between two kills: the journal only grows, what had ended takes no step, what was open goes
    on from its checkpoint.
    """
    assert after.journal[: len(before.journal)] == before.journal
    assert len(after.ended) == len(set(after.ended))
    for number in {entry["trial"] for entry in after.journal}:
        taken, begun = after.steps[number] - before.steps[number], before.kept.get(number, 0)
        if number in before.ended:
            assert taken == 0
        elif number in after.ended:
            assert taken == EPOCHS * STEPS_AN_EPOCH - begun
        else:
            assert 0 <= taken - (after.kept[number] - begun) <= STEPS_AN_EPOCH


def test_a_limit_of_time_closes_the_search_and_a_higher_one_goes_on(
    noting: Path, cvflow: Cvflow, search_in: Any
) -> None:
    """Trials of some four seconds, two at a time: twenty are more than 18 seconds hold, Ray's start
    among them.
    """
    many = (*SEARCH, "--samples", "20")
    said = cvflow(noting, *many, "search.max_hours=0.005", STEPS=str(noting / "steps")).stdout
    first = search_in(noting).trials()
    assert 0 < len(first) < 20
    assert f"{len(first)} of 20 trials have a score, 0 failed; search.max_hours=0.005 are over" in said
    assert (noting / "runs/mine-search/search/best.yaml").exists()
    more = cvflow(noting, *many, "search.max_hours=1").stdout
    assert "20 of 20 trials have a score, 0 failed\n" in more
    now = search_in(noting).trials()
    assert [(trial["params"], trial["score"]) for trial in now[: len(first)]] == [
        (trial["params"], trial["score"]) for trial in first
    ]
    assert sorted(search_in(noting).ended()) == list(range(20)), "none was run twice"
