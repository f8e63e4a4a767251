"""ASHA against the full search on cifar10_jpg: 27 settings of a small residual network at 16 px,
best val accuracy and epochs used.

A constant rate and averaged weights: the epochs of an annealed rate say little of its end, and ASHA
judges by them. Its options were chosen by the curves of the full search: after one epoch, its
default, the order of the settings is too much one of chance. Broken off, it goes on where it was,
in .cvflow/benchmarks/asha.
"""

from __future__ import annotations

import sys
from contextlib import chdir
from pathlib import Path

import yaml
from cases import DATA as SETS
from cases import STATE
from measure import table, write_results

from cvflow.verbs.search import SearchResult, search

DATA = SETS / "cifar10_jpg"
EPOCHS = 27
ASHA = {"name": "asha", "grace": 4, "reduction": 2}
MOST_LOST, MOST_EPOCHS = 0.01, 0.4
"""Of the best accuracy, absolute, and of the full search's epochs."""
RECIPE = {
    "task": "classification",
    "data": {"format": "image_folder", "source": str(DATA), "split": {"val": 0.3}},
    "image": {"size": [16, 16]},
    "model": {"backbone": {"name": "cifar_resnet", "depth": 8}},
    "train": {
        "epochs": EPOCHS,
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "schedule": "constant",
        "ema": 0.95,
        "augment": ["horizontal_flip"],
    },
    "compute": {"threads": 1},
    "search": {
        "algorithm": "grid",
        "concurrency": 2,
        "space": {
            "train.optimizer.lr": [0.01, 0.05, 0.25],
            "train.optimizer.weight_decay": [0.0001, 0.001, 0.01],
            "train.batch_size": [32, 64, 128],
        },
    },
}


def main() -> int:
    """Both searches, one after the other; 1 where a bar is missed."""
    folder = STATE / "asha"
    folder.mkdir(parents=True, exist_ok=True)
    with chdir(folder):
        Path("small.yaml").write_text(yaml.safe_dump(RECIPE))
        full = search("small.yaml", {}, "full")
        if epochs(full) < 27 * EPOCHS:
            sys.exit("The full search was broken off; the same command goes on.")
        asha = search("small.yaml", {"search.scheduler": ASHA}, "asha")
    rows = [
        [name, found.trials[0]["score"], epochs(found), epochs(found) / epochs(full)]
        for name, found in (("full", full), ("asha", asha))
    ]
    lost = full.trials[0]["score"] - asha.trials[0]["score"]
    share = epochs(asha) / epochs(full)
    said = (
        f"ASHA (grace {ASHA['grace']}, reduction {ASHA['reduction']}) loses "
        f"{lost:.4f} of the full search's best, at most {MOST_LOST} is "
        f"asked for, with {share:.1%} of its epochs, at most {MOST_EPOCHS:.0%}."
    )
    write_results(
        "asha",
        "ASHA against the full search",
        table(["search", "best val accuracy", "epochs", "share"], rows),
        said,
    )
    return int(lost > MOST_LOST or share > MOST_EPOCHS)


def epochs(found: SearchResult) -> int:
    """Of all trials together."""
    return sum(trial["epochs"] for trial in found.trials)


if __name__ == "__main__":
    sys.exit(main() if DATA.is_dir() else print(f"skipped: no data at {DATA}"))
