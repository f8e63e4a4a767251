"""Plain and residual networks of 20 and 56 layers by training loss at equal epochs, after He et al.
2015, arXiv 1512.03385, figure 6.

Deeper is worse without shortcuts, and not worse with them. Only losses count, so speed does not
matter: one thread a network, as many at once as there are cores; broken off, it goes on where it
was.

python benchmarks/orders.py [--quick] [--epochs N] [--until N]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from cases import STATE, cifar, recipe, session
from measure import table, write_results

from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Point
from cvflow.errors import InterruptedRunError
from cvflow.runtime.cores import cores
from cvflow.runtime.local import LocalSession

NETS = {
    "plain-56": ("cifar_plain", 56),
    "ResNet-56": ("cifar_resnet", 56),
    "plain-20": ("cifar_plain", 20),
    "ResNet-20": ("cifar_resnet", 20),
}
"""The longest first."""
EPOCHS = 24


class Until(LocalSession):
    """Stops, as by a signal, once so many epochs are done."""

    until = 0
    reached = False

    def report(self, points: Sequence[Point]) -> None:
        super().report(points)
        self.reached |= any(point.metrics.get("epoch", 0) >= self.until for point in points)

    def should_stop(self) -> bool:
        return self.reached


def losses(net: str, epochs: int, until: int) -> list[float]:
    """Train up to epoch ``until`` of a schedule of ``epochs``; the mean training loss of each epoch."""
    name, depth = NETS[net]
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
    plan = recipe(
        {"name": name, "depth": depth},
        32,
        epochs=epochs,
        batch_size=32,
        optimizer=optimizer,
        warmup_epochs=1,
        channels_last=True,
    )
    root = STATE / "orders" / f"{net}-{epochs}"
    if len(by_epoch(root)) < until:
        one = session(root, threads=1, kind=Until)
        one.until = until
        with suppress(InterruptedRunError):
            train(plan, cifar(), one)
    return by_epoch(root)[:until]


def by_epoch(root: Path) -> list[float]:
    """The windows of losses up to each epoch's summary, averaged; a window holds ten steps, the
    last of an epoch fewer.
    """
    means, windows, last = [], list[tuple[int, float]](), 0
    for _, point in read_history(root / "history.jsonl"):
        if "epoch" in point.metrics:
            means.append(
                math.fsum(steps * loss for steps, loss in windows) / sum(steps for steps, _ in windows)
            )
            windows.clear()
        else:
            windows.append((point.step - last, point.metrics["loss"]))
            last = point.step
    return means


def main() -> int:
    """Print the table; 1 where the papers' order does not show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--until", type=int, help="stop after so many epochs of that schedule")
    parser.add_argument("--quick", action="store_true", help="one epoch: shows that it runs, not the order")
    arguments = parser.parse_args()
    epochs = 1 if arguments.quick else arguments.epochs
    until = min(arguments.until or epochs, epochs)
    cifar()
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        curves = dict(
            zip(NETS, pool.map(losses, NETS, [epochs] * len(NETS), [until] * len(NETS)), strict=True)
        )
    shown = sorted({1, *range(2, until, 2), until})
    last = {net: curve[-1] for net, curve in curves.items()}
    plain, residual = last["plain-56"] > last["plain-20"], last["ResNet-56"] < last["ResNet-20"]
    write_results(
        "orders",
        "Training loss by depth, with and without shortcuts (He et al. 2015, figure 6)",
        table(
            ["epoch", *NETS], [[epoch, *(curve[epoch - 1] for curve in curves.values())] for epoch in shown]
        ),
        "4,500 CIFAR-10 photographs, batch 32, SGD 0.05 with a "
        f"cosine, crop and flip; {until} epochs of {epochs}.\n\n"
        "Without shortcuts the deeper network has the higher training "
        f"loss: **{plain}**. With them the lower: **{residual}**.",
        keep=not arguments.quick,
    )
    return int(not (arguments.quick or (plain and residual)))


if __name__ == "__main__":
    sys.exit(main())
