"""What a training shows: a bar and a line an epoch on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TextIO

from cvflow.engine.session import Point, Progress

PLAIN_EVERY = 30.0
"""Seconds between two lines within an epoch where the stream is not a terminal."""


class Console:
    """Writes to ``stream``, stderr by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._losses: Mapping[str, float] = {}
        self._eta = ""
        self._said = time.monotonic()

    def progress(self, at: Progress) -> None:
        """Where the epoch stands: rewrites the bar, or adds a plain line now and then."""
        self._eta = f"ETA {timedelta(seconds=round(at.eta))}"
        text = f"epoch {at.epoch:3}/{at.epochs}  {{}}  {words(at.metrics)}  {at.speed:,.0f} images/s  {self._eta}"
        if self.stream.isatty():
            done = 24 * at.step // max(1, at.steps)
            self._write("\r\x1b[K" + text.format("━" * done + "╌" * (24 - done)))
        elif time.monotonic() - self._said > PLAIN_EVERY:
            self._write(text.format(f"step {at.step}/{at.steps}") + "\n")

    def point(self, point: Point) -> None:
        """A line for an epoch's summary: the last training loss, the first metric and the loss on val, the speed where it was measured."""
        if "epoch" not in point.metrics:
            self._losses = {k: v for k, v in point.metrics.items() if k != "lr"}
            return
        first = [k for k in point.metrics if k.startswith("val_")][:1]
        shown = dict.fromkeys([*first, *(f"val_{k}" for k in self._losses)])
        scores = words({k: point.metrics[k] for k in shown if k in point.metrics})
        epoch, speed = point.metrics["epoch"], point.metrics.get("images_per_second")
        start = "\r\x1b[K" if self.stream.isatty() else ""
        fast = "" if speed is None else f"{speed:,.0f} images/s"
        self._write(f"{start}epoch {epoch:3.0f}  {words(self._losses)}  {scores}  {fast}  {self._eta}\n")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._write(("\r\x1b[K" if self.stream.isatty() else "") + f"{text}\n")

    def _write(self, text: str) -> None:
        self._said = time.monotonic()
        self.stream.write(text)
        self.stream.flush()


def words(metrics: Mapping[str, float]) -> str:
    """``loss 0.1234  val_accuracy 0.9876``."""
    return "  ".join(
        f"{name} {value:.4g}" if value < 1e-3 else f"{name} {value:.4f}" for name, value in metrics.items()
    )


class Pace:
    """How fast rows are answered: one line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, done: int, total: int, stream: TextIO | None = None) -> None:
        self.stream, self._total, self._from = stream or sys.stderr, total, done
        self._start = self._said = time.monotonic()

    def reached(self, done: int) -> None:
        """So many rows are answered."""
        now = time.monotonic()
        terminal = self.stream.isatty()
        if now - self._said < (0.2 if terminal else PLAIN_EVERY):
            return
        self._said = now
        speed = (done - self._from) / (now - self._start)
        left = timedelta(seconds=round((self._total - done) / speed)) if speed else "unknown"
        text = f"{done:,}/{self._total:,} rows  {speed:,.0f} rows/s  ETA {left}"
        self.stream.write(f"\r\x1b[K{text}" if terminal else f"{text}\n")
        self.stream.flush()

    def end(self) -> None:
        """Leave the terminal a clean line."""
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")
