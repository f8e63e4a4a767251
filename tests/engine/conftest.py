"""A few real digits and short trainings on them, in this process."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cvflow.config import Compute, Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.registry import Component, build
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.tasks.classification import Classification


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """About 320 digits to train on, 36 to validate; the others are the test split."""
    out = tmp_path_factory.mktemp("digits") / "data"
    prepare(
        build("format", Component(name="digits"), None),
        Classification.schema,
        "classification",
        SplitRule(test=0.8),
        out,
        64,
    )
    return PreparedDataset(out)


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """A recipe for the digits: a LeNet on 8x8 grey pixels, the train section given."""

    def make(model: Any = "classifier", seed: int = 0, every: int = 4, **train: Any) -> Recipe:
        sections = {
            "task": "classification",
            "data": {"format": "digits"},
            "image": {"size": (8, 8), "channels": 1},
        }
        return Recipe.model_validate(
            {**sections, "model": model, "train": train, "seed": seed, "tracking": {"every": every}}
        )

    return make


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., LocalSession]:
    """A session of this process on one thread, which keeps every checkpoint.

    Its files are in ``<name>`` below the test's folder.
    """

    def make(name: str = "run", keep: int = 100) -> LocalSession:
        root = tmp_path / name
        compute = Compute(device="cpu", threads=1)
        return LocalSession(
            compute,
            CheckpointStore(root / "checkpoints", keep),
            History(root / "history.jsonl"),
            Console(StringIO()),
        )

    return make
