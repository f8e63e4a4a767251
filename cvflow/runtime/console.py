"""What a training shows: a bar on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import TextIO

from cvflow.engine.session import Point, Progress


class Console:
    """Writes to ``stream`` (stderr by default); ``quiet`` writes nothing."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self._losses: Mapping[str, float] = {}

    def progress(self, at: Progress) -> None:
        """Rewrite the bar; nothing where the stream is not a terminal."""
        if self.quiet or not self.stream.isatty():
            return
        done = 24 * at.step // max(1, at.steps)
        bar = "━" * done + "╌" * (24 - done)
        eta = timedelta(seconds=round(at.eta))
        self.stream.write(f"\r\x1b[Kepoch {at.epoch}/{at.epochs} {bar} {at.speed:,.0f} images/s  {words(at.metrics)}  ETA {eta}")
        self.stream.flush()

    def point(self, point: Point) -> None:
        """A line for an epoch's summary: the last training loss, the first metric and the loss on val, the speed."""
        if "epoch" not in point.metrics:
            self._losses = {k: v for k, v in point.metrics.items() if k != "lr"}
        elif not self.quiet:
            start = "\r\x1b[K" if self.stream.isatty() else ""
            first = next((k for k in point.metrics if k.startswith("val_")), None)
            shown = dict.fromkeys([*([first] if first else []), *(f"val_{k}" for k in self._losses)])
            scores = words({k: point.metrics[k] for k in shown if k in point.metrics})
            speed, epoch = point.metrics["images_per_second"], point.metrics["epoch"]
            self.stream.write(f"{start}epoch {epoch:3.0f}  {words(self._losses)}  {scores}  {speed:,.0f} images/s\n")
            self.stream.flush()


def words(metrics: Mapping[str, float]) -> str:
    """``loss 0.1234  val_accuracy 0.9876``."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
