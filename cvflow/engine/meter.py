"""Averages of the training losses over windows of steps, and the speed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from cvflow.engine.session import Point
from cvflow.errors import CvflowError


class Meter:
    """Keeps the losses on the device and reads them once a window of ``every`` steps."""

    def __init__(self, every: int, batch_size: int) -> None:
        self.every, self.batch_size = every, batch_size
        self.window: list[Tensor] = []
        self.points: list[Point] = []
        self.restart()

    def restart(self) -> None:
        """Measure the speed from here (evaluation and checkpoints are not training)."""
        self.started, self.images = time.perf_counter(), 0

    def add(self, step: int, names: tuple[str, ...], means: Tensor, lr: float) -> bool:
        """Take one step's mean losses; True when a window closed, so that there is something to show."""
        self.names, self.step, self.lr = names, step, lr
        self.window.append(means)
        self.images += self.batch_size
        if len(self.window) == self.every:
            self._close()
            return True
        return False

    def flush(self) -> list[Point]:
        """The points since the last flush; an open window is closed."""
        if self.window:
            self._close()
        points, self.points = self.points, []
        return points

    @property
    def speed(self) -> float:
        """Images a second over all ranks."""
        return self.images / max(1e-9, time.perf_counter() - self.started)

    @property
    def last(self) -> Mapping[str, float]:
        return self.points[-1].metrics if self.points else {}

    def _close(self) -> None:
        metrics = dict(zip(self.names, torch.stack(self.window).mean(0).tolist(), strict=True))
        self.window.clear()
        if not all(map(math.isfinite, metrics.values())):
            raise CvflowError(
                f"The loss is not finite at step {self.step}: {metrics}. "
                "Type a lower train.optimizer.lr, or train.warmup_epochs=1; nothing was saved from this epoch."
            )
        self.points.append(Point(self.step, time.time(), {**metrics, "lr": self.lr}))
