"""Two Ray workers, one of them killed at a random step: replaced, and in the end the bits of the
unbroken training.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from cvflow.config import Compute, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Session
from cvflow.runtime.launch import launch

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
COMPUTE = Compute(workers=2, threads=1, device="cpu", checkpoint_minutes=1e-3)


def recipe() -> dict[str, Any]:
    """40 steps in two phases, with momentum, dropout and augmentation."""
    first = {"epochs": 1, "optimizer": {"name": "adamw", "lr": 0.005}, "warmup_epochs": 0.5}
    second = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.02}}
    plan = {
        "batch_size": 16,
        "phases": [first, second],
        "ema": 0.9,
        "augment": [{"name": "random_crop", "padding": 1}],
    }
    model = {"name": "classifier", "dropout": 0.3}
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (16, 16), "channels": 1},
        "model": model,
    }
    found = Recipe.model_validate(
        {**sections, "train": plan, "evaluate": {"batch_size": 64}, "tracking": {"every": 1}}
    )
    return found.model_dump(mode="json", by_alias=True)


def doomed(session: Any, recipe: dict[str, Any], dataset: str, rank: int, step: int, mark: str) -> None:
    """Train; the rank is killed the first time it has taken so many steps."""
    taken, ask = 0, session.should_stop

    def should_stop() -> bool:  # asked after every step
        nonlocal taken
        taken += 1
        if session.rank == rank and taken == step and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return bool(ask())

    session.should_stop = should_stop
    kept: Session = session
    train(Recipe.model_validate(recipe), PreparedDataset(dataset), kept)


def trained(root: Path, digits: PreparedDataset, rank: int = 0, step: int = 0) -> dict[str, torch.Tensor]:
    launch(
        doomed,
        COMPUTE,
        root / "checkpoints",
        root / "history.jsonl",
        recipe=recipe(),
        dataset=str(digits.path),
        rank=rank,
        step=step,
        mark=str(root / "killed"),
    )
    last = CheckpointStore(root / "checkpoints").latest()
    assert last is not None
    return last.tensors["model"]


def points(root: Path) -> list[Any]:
    found = [point for _, point in read_history(root / "history.jsonl")]
    return [
        (p.step, {k: v for k, v in p.metrics.items() if not k.startswith(("images_per_second", "seconds_"))})
        for p in found
    ]


DRAW = random.Random(1)
KILLS = [(DRAW.randrange(2), DRAW.randrange(1, 40)) for _ in range(30)]
"""(rank, step) each."""


@pytest.fixture(scope="module")
def unbroken(
    digits: PreparedDataset, local_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """(weights, points) of the training that nobody kills."""
    root = tmp_path_factory.mktemp("whole")
    return trained(root, digits), points(root)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(len(KILLS)))
def test_killed_at_thirty_random_steps(
    number: int, digits: PreparedDataset, unbroken: tuple[dict[str, torch.Tensor], list[Any]], tmp_path: Path
) -> None:
    rank, step = KILLS[number]
    found = trained(tmp_path, digits, rank=rank, step=step)
    assert (tmp_path / "killed").exists()
    assert found.keys() == unbroken[0].keys()
    assert all(torch.equal(found[k], unbroken[0][k]) for k in found)
    assert points(tmp_path) == unbroken[1]
