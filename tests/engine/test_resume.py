"""A training killed at the worst moments and run again ends as an unbroken one.

The same bits, and each step once.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Session

CHILD = """
import io, json, os, signal, sys
from pathlib import Path
from cvflow.config import Compute, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.loop import train
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession

recipe, data, root, moment, steps = sys.argv[1:]
root, steps = Path(root), int(steps)
seen = 0

def kill(reached):
    if reached:
        os.kill(os.getpid(), signal.SIGKILL)

class Doomed(LocalSession):
    def progress(self, at):
        global seen
        seen = (at.epoch - 1) * at.steps + at.step
        kill(moment == "within an epoch" and seen >= steps)

    def report(self, points):
        super().report(points)
        kill(moment == "before the checkpoint" and points and points[-1].step >= steps)

    def should_stop(self):
        kill(moment == "after the checkpoint" and self.checkpoints.latest().state["step"] >= steps)
        return False

store, history = CheckpointStore(root / "checkpoints"), History(root / "history.jsonl")
session = Doomed(Compute(device="cpu", threads=1), store, history, Console(io.StringIO()))
train(Recipe.model_validate(json.loads(recipe)), PreparedDataset(Path(data)), session)
"""


def killed(recipe: Recipe, digits: PreparedDataset, root: Path, moment: str, steps: int) -> None:
    """Train in another process until the moment at or after ``steps`` steps, where it gets SIGKILL."""
    text = json.dumps(recipe.model_dump(mode="json", by_alias=True))
    command = [sys.executable, "-c", CHILD, text, str(digits.path), str(root), moment, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def points(root: Path) -> list[tuple[int, dict[str, float]]]:
    found = [point for _, point in read_history(root / "history.jsonl")]
    return [
        (p.step, {k: v for k, v in p.metrics.items() if not k.startswith(("images_per_second", "seconds_"))})
        for p in found
    ]


def test_killed_thrice_and_never(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session], tmp_path: Path
) -> None:
    first = {"epochs": 2, "optimizer": {"name": "adamw", "lr": 0.01}}
    second = {"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.02, "nesterov": True}, "warmup_epochs": 0.5}
    chosen = recipe(
        {"name": "classifier", "dropout": 0.3},
        every=3,
        phases=[first, second],
        augment=[{"name": "random_crop", "padding": 1}],
    )
    steps = digits.info.counts["train"] // chosen.train.batch_size
    assert steps >= 4

    killed(chosen, digits, tmp_path / "broken", "within an epoch", steps + 3)
    assert (
        session("broken").checkpoints.latest().state["step"] == steps
    )  # the first epoch is safe, the second was lost
    # between the phases
    killed(chosen, digits, tmp_path / "broken", "after the checkpoint", 2 * steps)
    killed(chosen, digits, tmp_path / "broken", "before the checkpoint", 4 * steps)
    resumed = train(chosen, digits, session("broken")).model.state_dict()
    unbroken = train(chosen, digits, session("whole")).model.state_dict()

    assert {k for k, v in unbroken.items() if not torch.equal(v, resumed[k])} == set()
    written = points(tmp_path / "broken")
    assert written == points(tmp_path / "whole")
    assert [m["epoch"] for _, m in written if "epoch" in m] == [1, 2, 3, 4, 5]
    keys = [(step, "epoch" in m) for step, m in written]
    assert len(set(keys)) == len(keys)


def test_a_finished_training_is_not_trained_again(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session], tmp_path: Path
) -> None:
    chosen = recipe(epochs=1)
    once = train(chosen, digits, session()).model.state_dict()
    before = points(tmp_path / "run")
    again = train(chosen, digits, session()).model.state_dict()
    assert all(torch.equal(once[k], again[k]) for k in once)
    assert points(tmp_path / "run") == before
