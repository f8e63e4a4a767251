"""One real search each by evolution and at random, at an equal budget, on the built-in digits: what
each finds, and how soon.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import chdir
from itertools import accumulate

from measure import table, write_results

from cvflow.verbs.search import SearchResult, search

TRIALS, EPOCHS, SHOWN = 60, 3, 10
"""SHOWN: the best so far is told after so many trials each."""
SPACE = {
    "train.optimizer.lr": "loguniform(1e-3, 1)",
    "train.optimizer.momentum": "uniform(0, 0.95)",
    "train.optimizer.weight_decay": "loguniform(1e-5, 1e-1)",
    "train.batch_size": "choice(16, 32, 64, 128)",
    "model.backbone": "choice(lenet, mlp)",
}
ALGORITHMS = ("evolution", "random")
PLAIN = {
    "train.epochs": EPOCHS,
    "compute.threads": 1,
    "compute.device": "cpu",
    "search.concurrency": 2,
    "search.metric": "loss",
}


def main(trials: int) -> None:
    """Both searches, one after the other; the same space, epochs, concurrency and seed."""
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        found = {
            name: search(
                "digits", {**PLAIN, **SPACE, "search.algorithm": name, "search.samples": trials}, name
            )
            for name in ALGORITHMS
        }
    rows = [[name, *summary(one)] for name, one in found.items()]
    columns = ["algorithm", "best", "of trial", "median", f"best so far, after each {SHOWN} trials"]
    text = (
        f"{trials} trials of {EPOCHS} epochs, 2 at once, a thread each, "
        f"over {len(SPACE)} keys. Score: the loss on val, best epoch."
    )
    note = (
        "A run each says how the algorithms behave, not which is "
        "better: for that see [evolution.md](evolution.md)."
    )
    write_results(
        "search_runs", "A real search each", text, table(columns, rows), note, keep=trials >= TRIALS
    )


def summary(found: SearchResult) -> list[object]:
    """The best loss, its trial, the median, and the course of the best."""
    scores = {trial["number"]: trial["score"] for trial in found.trials if trial["score"] is not None}
    ranked = sorted(scores, key=lambda number: scores[number])
    course = list(accumulate((scores[number] for number in sorted(scores)), min))[SHOWN - 1 :: SHOWN]
    return [
        scores[ranked[0]],
        ranked[0],
        scores[ranked[len(ranked) // 2]],
        " ".join(f"{score:.3f}" for score in course),
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
