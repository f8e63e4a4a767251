"""Ctrl-C and SIGTERM in the middle of an epoch: a checkpoint, 130, nobody left behind, and the same
command goes on from that step.

So it does from the last checkpoint after kill -9, and from the one before where that is damaged.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cvflow.engine.history import read_history

CVFLOW = str(Path(sys.executable).parent / "cvflow")
STEPS_AN_EPOCH = 12
SAID = "stopping: a checkpoint is written; again to stop at once without one"
LAST = "cvflow: interrupted; the same command goes on from the last checkpoint"


@dataclass
class Stopped:
    code: int
    said: str
    seconds: float
    left: list[str]

    @property
    def step(self) -> int:
        """After which it stopped, as it says."""
        found = re.search(r"stopped after step (\d+); the same command goes on from there", self.said)
        assert found, self.said
        return int(found.group(1))


def stopped(
    project: Path, steps: int, stop: Callable[[int, list[psutil.Process]], Any], *overrides: str
) -> Stopped:
    """``cvflow run`` until so many steps are taken, then ``stop(pid, its children)``; what became of it."""
    log, notes = project / "log.txt", project / "steps.txt"
    notes.write_text("")
    with log.open("w") as out:
        process = subprocess.Popen(
            [CVFLOW, "run", "mine.yaml", *overrides],
            cwd=project,
            stdout=out,
            stderr=out,
            env=os.environ | {"STEPS": str(notes)},
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while len(notes.read_text().split()) < steps:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        started = time.monotonic()
        stop(process.pid, children)
        code = process.wait(60)
        seconds = time.monotonic() - started
        _, left = psutil.wait_procs([child for child in children if alive(child)], 5)
        return Stopped(code, log.read_text(), seconds, [str(child) for child in left if alive(child)])
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def alive(process: psutil.Process) -> bool:
    """Orphans that have ended stay zombies where nobody reaps them."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def stage(children: list[psutil.Process]) -> int:
    """The stage's own process: the first of those with its words, loader processes being forks of it."""
    return next(child.pid for child in children if "stage" in child.cmdline())


def ctrl_c(pid: int, children: list[psutil.Process]) -> None:
    os.killpg(pid, signal.SIGINT)


def ctrl_c_twice(pid: int, children: list[psutil.Process]) -> None:
    """The second while the checkpoint, or what follows it, is under way."""
    os.killpg(pid, signal.SIGINT)
    time.sleep(1.2)
    if psutil.pid_exists(pid):
        os.killpg(pid, signal.SIGINT)


def sigterm(pid: int, children: list[psutil.Process]) -> None:
    os.kill(pid, signal.SIGTERM)


def sigterm_to_all(pid: int, children: list[psutil.Process]) -> None:
    os.killpg(pid, signal.SIGTERM)


def sigterm_to_the_stage(pid: int, children: list[psutil.Process]) -> None:
    os.kill(stage(children), signal.SIGTERM)


def kill_all(pid: int, children: list[psutil.Process]) -> None:
    os.killpg(pid, signal.SIGKILL)


def check(found: Stopped) -> None:
    assert found.code == 130, found.said
    assert found.left == [], found.said
    assert found.step % STEPS_AN_EPOCH, found.said  # in the middle of an epoch
    lines = found.said.splitlines()
    assert lines.count(SAID) == 1, found.said
    assert lines[-1] == LAST
    for noise in ("Traceback", "ERROR", "Exception"):
        assert noise not in found.said


def check_whole(project: Path) -> None:
    """Every step of the four epochs is there, once."""
    points = [p for _, p in read_history(project / "runs/mine/history.jsonl")]
    assert [p.step for p in points if "epoch" not in p.metrics] == list(range(1, 4 * STEPS_AN_EPOCH + 1))


def test_stopped_twice_in_an_epoch_and_finished(noting: Path, dvc: Callable[..., Any]) -> None:
    first = stopped(noting, STEPS_AN_EPOCH + 4, ctrl_c, "compute.loader_workers=2")
    check(first)
    second = stopped(noting, 5, sigterm, "compute.loader_workers=2")
    check(second)
    assert f"resuming after epoch 1 (step {first.step})" in second.said
    assert second.step > first.step
    done = dvc(noting, "repro", "train@mine")  # what the same command does first
    assert f"(step {second.step})" in done.stderr
    check_whole(noting)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [sigterm_to_the_stage, sigterm_to_all])
def test_sigterm_comes_in_other_ways(noting: Path, stop: Any) -> None:
    check(stopped(noting, 5, stop, "compute.loader_workers=2"))


@pytest.mark.slow
def test_the_second_ctrl_c_stops_at_once(noting: Path) -> None:
    """The first waits for the end of a step, which takes for ever here."""
    (noting / "net.py").write_text(
        (noting / "net.py").read_text().replace("sleep(0.1)", "sleep(0.1 if x_BCHW.sum() == 0 else 60)")
    )
    notes = "Path(os.environ['STEPS']).open('a').write('begun\\n')"
    (noting / "net.py").write_text(
        (noting / "net.py").read_text().replace("time.sleep", f"{notes}; time.sleep")
    )
    found = stopped(noting, 1, ctrl_c_twice)
    assert found.code == 130
    assert found.seconds < 10
    assert found.left == []
    assert "Traceback" not in found.said
    assert found.said.splitlines()[-1] == LAST


@pytest.mark.slow
def test_sigterm_to_all_while_a_learning_curve_sets_out(noting: Path, cvflow: Callable[..., Any]) -> None:
    """In imports, in DVC's set-up, between its stages and in the first of them: nothing is left
    that stops the same command.
    """
    command, log = ("learning-curve", "mine.yaml", "--images", "2", "train.epochs=1"), noting / "log.txt"
    for moment in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.5):
        with log.open("w") as out:
            process = subprocess.Popen(
                [CVFLOW, *command], cwd=noting, stdout=out, stderr=out, start_new_session=True
            )
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGTERM)
        code, said = process.wait(60), log.read_text()
        assert (code, moment) == (130, moment), said
        for noise in ("Traceback", "KeyboardInterrupt", "Error"):
            assert noise not in said
    cvflow(noting, *command)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("stop", [ctrl_c, sigterm])
def test_two_workers_stop_and_go_on(noting: Path, cvflow: Callable[..., Any], stop: Any) -> None:
    first = stopped(noting, 2 * (STEPS_AN_EPOCH + 2), stop, "compute.workers=2")
    check(first)
    done = cvflow(noting, "run", "mine.yaml", "compute.workers=2")
    assert f"(step {first.step})" in done.stderr
    check_whole(noting)


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_stop_at_once(noting: Path) -> None:
    found = stopped(noting, 4, ctrl_c_twice, "compute.workers=2", "train.epochs=40")
    assert found.code == 130
    assert found.left == []
    assert "Traceback" not in found.said


OFTEN = "compute.checkpoint_minutes=1e-3"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ray)])
def test_killed_as_a_whole_and_finished(noting: Path, cvflow: Callable[..., Any], workers: int) -> None:
    """The model is, byte for byte, that of a run that nobody broke."""
    whole = shutil.copytree(noting, noting.with_name(f"whole-{workers}"))
    overrides = f"compute.workers={workers}", OFTEN
    killed = stopped(noting, (STEPS_AN_EPOCH + 4) * max(1, workers), kill_all, *overrides)
    assert (killed.code, killed.left) == (-signal.SIGKILL, []), killed.said
    done = cvflow(noting, "run", "mine.yaml", *overrides)
    step = re.search(r"resuming after epoch 1 \(step (\d+)\)", done.stderr)
    assert step, done.stderr
    assert int(step.group(1)) > STEPS_AN_EPOCH
    check_whole(noting)
    cvflow(whole, "run", "mine.yaml", *overrides)
    mine, theirs = (
        (project / "runs/mine/model/model.safetensors").read_bytes() for project in (noting, whole)
    )
    assert mine == theirs


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_passed_over(noting: Path, cvflow: Callable[..., Any]) -> None:
    first = stopped(noting, STEPS_AN_EPOCH + 4, ctrl_c, OFTEN)
    check(first)
    before, newest = sorted(noting.glob(".cvflow/train/*/checkpoints/step-*"))[-2:]
    assert int(newest.name.partition("-")[2]) == first.step
    file = newest / "optimizer.safetensors"
    os.truncate(file, file.stat().st_size - 8)
    done = cvflow(noting, "run", "mine.yaml", OFTEN)
    assert (
        f"checkpoint {newest.name} is damaged: going on from step {int(before.name.partition('-')[2])}\n"
        in done.stderr
    )
    check_whole(noting)
