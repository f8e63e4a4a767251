"""Stopped after any step, or killed at any moment, a training ends with the bits of an unbroken one."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cvflow.config import Compute, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History, read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Point, Session
from cvflow.errors import InterruptedRunError
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.stages.train import exported

Make = Callable[..., Recipe]
Sessions = Callable[..., Session]
LENET = {"name": "classifier", "dropout": 0.3}
RESNET = {**LENET, "backbone": {"name": "cifar_resnet", "depth": 20}}


class Stopping(LocalSession):
    """Asks to stop after every ``after`` steps, and while it is measured where ``in_evaluation``."""

    after = 10**9
    asked = 0

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked > self.after


def stopping(root: Path, after: int) -> Stopping:
    compute = Compute(device="cpu", threads=1)
    session = Stopping(
        compute,
        CheckpointStore(root / "checkpoints"),
        History(root / "history.jsonl"),
        Console(io.StringIO()),
    )
    session.after = after
    return session


def chosen(recipe: Make, model: Any = LENET, precision: str = "fp16") -> Recipe:
    """A recipe with everything that has a state.

    Two phases, momentum, warm-up, plateau, averaged weights, loss scale, dropout and augmentation.
    """
    first = {"epochs": 2, "optimizer": {"name": "adamw", "lr": 0.01}, "warmup_epochs": 0.5}
    second = {
        "epochs": 2,
        "schedule": {"name": "plateau", "patience": 1},
        "optimizer": {"name": "sgd", "lr": 0.05, "nesterov": True},
    }
    return recipe(
        model,
        every=3,
        batch_size=64,
        phases=[first, second],
        augment=[{"name": "random_crop", "padding": 1}],
        ema=0.95,
        precision=precision,
        clip_norm=1.0,
        accumulate=2,
    )


def points(root: Path) -> list[tuple[int, dict[str, float]]]:
    found = [point for _, point in read_history(root / "history.jsonl")]
    return [
        (p.step, {k: v for k, v in p.metrics.items() if not k.startswith(("images_per_second", "seconds_"))})
        for p in found
    ]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("after", "model", "precision"), [(1, LENET, "fp16"), (3, LENET, "fp32"), (7, RESNET, "fp32")]
)
def test_stopped_again_and_again(
    after: int,
    model: Any,
    precision: str,
    digits: PreparedDataset,
    recipe: Make,
    session: Sessions,
    tmp_path: Path,
) -> None:
    """After every step, or every few: in an epoch, at its end, while val is measured, between phases."""
    plan = chosen(recipe, model, precision)
    unbroken = train(plan, digits, session("whole")).model.state_dict()
    stops = 0
    while True:
        try:
            resumed = train(plan, digits, stopping(tmp_path / "broken", after)).model.state_dict()
            break
        except InterruptedRunError:
            stops += 1
    assert stops >= 16 // after
    assert same(unbroken, resumed)
    assert points(tmp_path / "broken") == points(tmp_path / "whole")
    kept = [exported(CheckpointStore(tmp_path / name / "checkpoints"), plan) for name in ("broken", "whole")]
    assert same(*kept)


def test_an_epoch_that_goes_on_with_its_evaluation_has_no_speed(
    digits: PreparedDataset, recipe: Make, tmp_path: Path
) -> None:
    """Stopped between its last step and its evaluation; 0 images a second would be no measurement."""
    plan = recipe(epochs=2, batch_size=64, every=100)
    steps = digits.info.counts["train"] // 64
    with pytest.raises(InterruptedRunError):
        train(plan, digits, stopping(tmp_path / "run", steps - 1))
    store = CheckpointStore(tmp_path / "run/checkpoints")
    stopped = store.latest()
    assert stopped is not None
    assert (stopped.state["batch"], stopped.state["epoch"]) == (steps, 0)
    went_on = stopping(tmp_path / "run", 10**9)
    train(plan, digits, went_on)
    first, second = (
        p.metrics for _, p in read_history(tmp_path / "run/history.jsonl") if "epoch" in p.metrics
    )
    assert "images_per_second" not in first
    assert second["images_per_second"] > 0


def test_a_checkpoint_within_an_epoch_when_it_is_time(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    one = session()
    one.checkpoint_seconds = 0.0
    train(recipe(epochs=1, batch_size=32), digits, one)
    steps = digits.info.counts["train"] // 32
    assert len(list(one.checkpoints.root.glob("step-*"))) == steps + 1


def test_a_damaged_newest_checkpoint_is_passed_over(
    digits: PreparedDataset, recipe: Make, session: Sessions, tmp_path: Path
) -> None:
    plan = chosen(recipe)
    unbroken = train(plan, digits, session("whole")).model.state_dict()
    with pytest.raises(InterruptedRunError):
        train(plan, digits, stopping(tmp_path / "broken", 4))
    newest = max((tmp_path / "broken/checkpoints").glob("step-*"))
    shutil.copytree(newest, newest.with_name("step-000000099"))
    file = newest.with_name("step-000000099") / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    store = CheckpointStore(tmp_path / "broken/checkpoints")
    assert store.damaged() == ["step-000000099"]
    assert same(unbroken, train(plan, digits, stopping(tmp_path / "broken", 10**9)).model.state_dict())


def train_and_die(plan: Recipe, digits: PreparedDataset, root: Path, seconds: float) -> bool:
    """Train in a child process that gets SIGKILL after ``seconds``; return whether it ended before."""
    child = os.fork()
    if child == 0:
        try:
            session = stopping(root, 10**9)
            session.checkpoint_seconds = 0.05
            train(plan, digits, session)
            os._exit(0)
        finally:
            os._exit(1)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.slow
def test_killed_at_thirty_random_moments(
    digits: PreparedDataset, recipe: Make, session: Sessions, tmp_path: Path
) -> None:
    """SIGKILL comes from outside, whatever is going on: also while a checkpoint is written."""
    plan, draw = chosen(recipe), random.Random(0)
    started = time.monotonic()
    unbroken = train(plan, digits, session("whole")).model.state_dict()
    lasted = time.monotonic() - started
    for number in range(30):
        root = tmp_path / f"broken-{number}"
        assert not train_and_die(plan, digits, root, draw.uniform(0.05, 0.9) * lasted)
        assert train_and_die(plan, digits, root, 60)
        last = CheckpointStore(root / "checkpoints").latest()
        assert last is not None
        assert same(unbroken, last.tensors["model"]), f"kill {number}"
        assert points(root) == points(tmp_path / "whole")


class Late(Stopping):
    """What is reported takes three reports more to the history, as on Ray; a kill loses what is under way."""

    report_seconds = 60.0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.under_way: list[Sequence[Point]] = []

    def report(self, points: Sequence[Point]) -> None:
        self.under_way.append(points)
        if len(self.under_way) > 3:
            super().report(self.under_way.pop(0))


def test_points_that_were_under_way_when_all_was_killed(
    digits: PreparedDataset, recipe: Make, tmp_path: Path
) -> None:
    """A checkpoint a step: several are newer than the last point that was written."""
    plan, broken = recipe(epochs=2, every=1), tmp_path / "broken"
    store, history = CheckpointStore(broken / "checkpoints"), History(broken / "history.jsonl")
    killed = Late(Compute(device="cpu", threads=1), store, history, Console(io.StringIO()))
    killed.checkpoint_seconds, killed.after = 0.0, 4
    with pytest.raises(InterruptedRunError):
        train(plan, digits, killed)
    last = store.latest()
    assert last is not None
    assert last.state["step"] - points(broken)[-1][0] >= 2
    train(plan, digits, stopping(broken, 10**9))
    train(plan, digits, stopping(tmp_path / "whole", 10**9))
    assert points(broken) == points(tmp_path / "whole")
