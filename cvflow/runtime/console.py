"""What a training and a prediction show: a line that is rewritten on a terminal, plain lines now
and then elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TextIO

from cvflow.engine.session import Point, Progress
from cvflow.runtime.status_line import StatusLine

PLAIN_EVERY = 30.0
"""Seconds between two lines within an epoch if the stream is not a terminal."""
REWRITTEN_EVERY = 0.2
"""Seconds between two changes of the rewritten line while rows are answered."""
BAR = 24
"""Length of the bar, in characters."""


class Console:
    """Shows a training on ``stream``, stderr by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._status = StatusLine(self.stream)
        self._losses: Mapping[str, float] = {}
        self._eta = ""
        self._last_line = time.monotonic()

    def progress(self, at: Progress) -> None:
        """Show where the epoch stands."""
        self._eta = f"ETA {timedelta(seconds=round(at.eta))}"
        speed = f"{at.speed:,.0f} images/s"
        if self._status.is_terminal:
            done = BAR * at.step // max(1, at.steps)
            state = "━" * done + "╌" * (BAR - done)
        else:
            state = f"step {at.step}/{at.steps}"
        text = f"epoch {at.epoch:3}/{at.epochs}  {state}  {words(at.metrics)}  {speed}  {self._eta}"
        if self._status.is_terminal:
            self._status.show(text)
        elif time.monotonic() - self._last_line > PLAIN_EVERY:
            self._write(text)

    def point(self, point: Point) -> None:
        """Write a line for an epoch's summary: the last training losses, the first metric and the
        losses on val, the speed.
        """
        if "epoch" not in point.metrics:
            self._losses = {name: value for name, value in point.metrics.items() if name != "lr"}
            return
        first_metric = [name for name in point.metrics if name.startswith("val_")][:1]
        val_losses = [f"val_{name}" for name in self._losses]
        names = dict.fromkeys([*first_metric, *val_losses])
        scores = words({name: point.metrics[name] for name in names if name in point.metrics})
        epoch = point.metrics["epoch"]
        # a speed is not measured in an epoch that was stopped at its end
        speed = ""
        if "images_per_second" in point.metrics:
            speed = f"{point.metrics['images_per_second']:,.0f} images/s"
        self._write(f"epoch {epoch:3.0f}  {words(self._losses)}  {scores}  {speed}  {self._eta}")

    def say(self, text: str) -> None:
        """Write a line of its own."""
        self._write(text)

    def _write(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._status.line(text)


def words(metrics: Mapping[str, float]) -> str:
    """Return metrics as ``loss 0.1234  val_accuracy 0.9876``."""
    parts = []
    for name, value in metrics.items():
        parts.append(f"{name} {value:.4g}" if value < 1e-3 else f"{name} {value:.4f}")
    return "  ".join(parts)


class Pace:
    """Shows how fast rows are answered. done: rows answered before; total: all of them."""

    def __init__(self, done: int, total: int, stream: TextIO | None = None) -> None:
        self._status = StatusLine(stream or sys.stderr)
        self._total = total
        self._first = done
        self._start = time.monotonic()
        self._last_line = self._start

    def reached(self, done: int) -> None:
        """Say that so many rows are answered."""
        now = time.monotonic()
        interval = REWRITTEN_EVERY if self._status.is_terminal else PLAIN_EVERY
        if now - self._last_line < interval:
            return
        self._last_line = now
        speed = (done - self._first) / (now - self._start)
        left = timedelta(seconds=round((self._total - done) / speed)) if speed else "unknown"
        text = f"{done:,}/{self._total:,} rows  {speed:,.0f} rows/s  ETA {left}"
        if self._status.is_terminal:
            self._status.show(text)
        else:
            self._status.line(text)

    def end(self) -> None:
        """Leave the terminal a clean line."""
        self._status.clear()
