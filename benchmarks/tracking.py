"""The share of a training's time that tracking costs: the loop's own reports, and the thread that
hands them to MLflow.

A ResNet-20 on CIFAR-10 photographs, tracked in SQLite. The loop's part is ``seconds_tracking`` of
the epochs' summaries. The thread works beside the training; its processor time counts in full, as
if the training had stood still. What opening the run costs once (mostly the import of MLflow and
the tables of a new database) is given apart.

python benchmarks/tracking.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from cases import cifar, recipe, session
from measure import table, write_results

from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.runtime.cores import cores
from cvflow.runtime.metrics_tail import Tail
from cvflow.runtime.tracking import open_run

BAR = 0.01


class Timed(Tail):
    """Notes the processor time of its thread: of opening the run, and in all."""

    opening = whole = 0.0

    def _work(self) -> None:
        super()._work()
        self.whole = time.thread_time()


def measured(root: Path, epochs: int) -> tuple[list[list[float]], float, float]:
    """(epoch, its seconds, those of its reports) of each epoch; the thread's seconds, and those of
    opening the run.
    """
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root / 'mlflow.db'}"

    def opened() -> str:
        start = time.thread_time()
        run_id = open_run("tracking", "0" * 32, "tracking")
        tail.opening = time.thread_time() - start
        return run_id

    tail = Timed(root / "history.jsonl", opened)
    with tail:
        train(
            recipe({"name": "cifar_resnet", "depth": 20}, 32, epochs=epochs, channels_last=True),
            cifar(),
            session(root, cores()),
        )
    rows = []
    for _, point in read_history(root / "history.jsonl"):
        if "epoch" in point.metrics:
            seconds = sum(value for name, value in point.metrics.items() if name.startswith("seconds_"))
            rows.append([point.metrics["epoch"], seconds, point.metrics["seconds_tracking"]])
    return rows, tail.whole - tail.opening, tail.opening


def main() -> int:
    """Print the table; 1 where the share is above the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one epoch: shows that it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        rows, thread, opening = measured(Path(root), 1 if arguments.quick else 6)
    training, reports = (sum(row[column] for row in rows) for column in (1, 2))
    share = (reports + thread) / training
    write_results(
        "tracking",
        "What tracking costs",
        table(["epoch", "seconds", "of these reports"], rows),
        f"Training {training:.1f} s, reports {reports:.3f} s, sending to "
        f"MLflow {thread:.3f} s of processor time: share **{share:.2%}** "
        f"(at most {BAR:.0%}). Opening the run, once: {opening:.1f} s of processor time beside the training.",
        keep=not arguments.quick,
    )
    return int(not arguments.quick and share > BAR)


if __name__ == "__main__":
    sys.exit(main())
