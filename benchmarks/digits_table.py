"""324 really trained settings of six keys on the built-in digits: the table that search algorithms
are compared on.

Writes ``results/digits_table.csv``, a line a setting; lines that are there are not trained again.
"""

from __future__ import annotations

import csv
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from cvflow.config import Compute, Recipe, SplitRule, merge
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History, read_history
from cvflow.engine.loop import train
from cvflow.registry import Component, build
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.tasks.classification import Classification

TABLE = Path(__file__).parent / "results" / "digits_table.csv"
SPACE: dict[str, tuple[Any, ...]] = {
    "train.optimizer.lr": (0.003, 0.01, 0.03),
    "train.optimizer.momentum": (0.0, 0.6, 0.9),
    "train.optimizer.weight_decay": (0.0, 0.003, 0.03),
    "train.batch_size": (16, 32, 64),
    "model.backbone.activation": ("relu", "tanh"),
    "model.backbone.pool": ("max", "avg"),
}
BASE = {
    "task": "classification",
    "data": {"format": "digits"},
    "image": {"size": [16, 16], "channels": 1},
    "model": {"name": "classifier", "backbone": {"name": "lenet"}},
    "train": {"epochs": 4, "optimizer": {"name": "sgd"}, "schedule": "cosine"},
}


def main() -> None:
    """Train what the table lacks."""
    TABLE.parent.mkdir(exist_ok=True)
    there = read_table() if TABLE.exists() else {}
    with tempfile.TemporaryDirectory() as scratch, TABLE.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not there:
            writer.writerow([*SPACE, "val_loss"])
        dataset = digits(Path(scratch) / "data")
        for number, values in enumerate(itertools.product(*SPACE.values())):
            if values not in there:
                writer.writerow([*values, f"{val_loss(dataset, values, Path(scratch) / str(number)):.6f}"])
                file.flush()


def read_table() -> dict[tuple[Any, ...], float]:
    """The values of SPACE's keys, in its order -> the least loss on val of the four epochs."""
    kinds = [type(values[0]) for values in SPACE.values()]
    with TABLE.open() as file:
        rows = list(csv.reader(file))[1:]
    return {tuple(kind(cell) for kind, cell in zip(kinds, row, strict=False)): float(row[-1]) for row in rows}


def digits(out: Path) -> PreparedDataset:
    """719 digits to train on, 719 to validate."""
    prepare(
        build("format", Component(name="digits"), None),
        Classification.schema,
        "classification",
        SplitRule(val=0.5),
        out,
        64,
    )
    return PreparedDataset(out)


def val_loss(dataset: PreparedDataset, values: tuple[Any, ...], folder: Path) -> float:
    """Train the setting on one thread; the least loss on val after an epoch."""
    data: dict[str, Any] = dict(BASE)
    for key, value in zip(SPACE, values, strict=True):
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        data = merge(data, nested)
    with (folder.with_suffix(".txt")).open("w") as silent:
        compute, history = Compute(threads=1, device="cpu"), History(folder / "history.jsonl")
        train(
            Recipe.model_validate(data),
            dataset,
            LocalSession(compute, CheckpointStore(folder / "checkpoints"), history, Console(silent)),
        )
    return min(p.metrics["val_loss"] for _, p in read_history(history.path) if "epoch" in p.metrics)


if __name__ == "__main__":
    main()
    sys.stdout.write(f"{len(read_table())} settings in {TABLE}\n")
