"""Averages of the training losses over windows of steps, the speed, and where the time went."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cvflow.engine.session import Point
from cvflow.errors import CvflowError


class NotFiniteError(CvflowError):
    """A loss that is NaN or infinite. step: the first with one."""

    def __init__(self, step: int, losses: Mapping[str, float]) -> None:
        self.step = step
        super().__init__(f"the loss is not finite at step {step}: {dict(losses)}")


class Meter:
    """Keeps the losses on the device and reads them once a window: the steps up to a multiple of ``every``."""

    def __init__(self, every: int, batch_size: int) -> None:
        self.every, self.batch_size = every, batch_size
        self.window: list[tuple[int, Tensor]] = []
        self.points: list[Point] = []
        self.names: tuple[str, ...] = ()
        self.lr = 0.0
        self.last: Mapping[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Measure the speed from here (evaluation and checkpoints are not training)."""
        self.started, self.images = time.perf_counter(), 0

    def add(self, step: int, names: tuple[str, ...], means: Tensor, lr: float) -> bool:
        """Take one step's mean losses; True when a window closed, so that there is something to show."""
        self.names, self.lr = names, lr
        self.window.append((step, means))
        self.images += self.batch_size
        if step % self.every == 0:
            self._close()
            return True
        return False

    def take(self) -> list[Point]:
        """The points of the windows closed since they were last taken. Raises NotFiniteError for an open window too."""
        self._read()
        points, self.points = self.points, []
        return points

    def flush(self) -> list[Point]:
        """``take``, an open window closed before."""
        if self.window:
            self._close()
        return self.take()

    @property
    def speed(self) -> float:
        """Images a second over all ranks."""
        return self.images / max(1e-9, time.perf_counter() - self.started)

    def state(self) -> dict[str, Any]:
        """The open window, as plain data: floats are kept exactly."""
        return {
            "names": self.names,
            "lr": self.lr,
            "window": [[step, means.tolist()] for step, means in self.window],
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.names, self.lr = tuple(state["names"]), state["lr"]
        self.window = [(step, torch.tensor(means, device=device)) for step, means in state["window"]]

    def _read(self) -> list[list[float]]:
        """The open window's losses. Raises NotFiniteError at the first step where one is not finite."""
        rows: list[list[float]] = (
            torch.stack([means for _, means in self.window]).tolist() if self.window else []
        )
        for (step, _), row in zip(self.window, rows, strict=True):
            if not all(map(math.isfinite, row)):
                raise NotFiniteError(step, dict(zip(self.names, row, strict=True)))
        return rows

    def _close(self) -> None:
        means = [math.fsum(column) / len(column) for column in zip(*self._read(), strict=True)]
        self.last = {**dict(zip(self.names, means, strict=True)), "lr": self.lr}
        self.points.append(Point(self.window[-1][0], time.time(), self.last))
        self.window.clear()


class Clock:
    """Seconds by part of the work. On a GPU, whose work is queued, the laps are events, read by ``seconds``."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Forget all laps and begin one."""
        self._seconds: dict[str, float] = {}
        self._laps: list[tuple[str, Any]] = []
        self._last = self._now()

    def lap(self, name: str) -> None:
        """What was done since the last lap was ``name``."""
        now = self._now()
        if self.cuda:
            self._laps.append((name, now))
        else:
            self._count(name, now - self._last)
            self._last = now

    def seconds(self) -> dict[str, float]:
        """``seconds_<name>`` of all laps since the restart."""
        self._settle()
        return {f"seconds_{name}": value for name, value in self._seconds.items()}

    def _now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _settle(self) -> None:
        if self._laps:
            self._laps[-1][1].synchronize()
        for name, event in self._laps:
            self._count(name, self._last.elapsed_time(event) / 1000)
            self._last = event
        self._laps.clear()

    def _count(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
