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
    """A loss that is NaN or infinite. step: the first step with such a loss."""

    def __init__(self, step: int, losses: Mapping[str, float]) -> None:
        self.step = step
        super().__init__(f"the loss is not finite at step {step}: {dict(losses)}")


class Meter:
    """Averages the losses over windows of steps, each of which ends at a multiple of ``every``.

    The losses stay on the device until their window ends, so that no step waits for the host.
    batch_size: images a step, over all ranks.
    """

    def __init__(self, every: int, batch_size: int) -> None:
        self.every = every
        self.batch_size = batch_size
        self.window: list[tuple[int, Tensor]] = []
        self.points: list[Point] = []
        self.names: tuple[str, ...] = ()
        self.lr = 0.0
        self.last: Mapping[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Begin to measure the speed anew (evaluation and checkpoints are not training)."""
        self.started = time.perf_counter()
        self.images = 0

    def add(self, step: int, names: tuple[str, ...], means: Tensor, lr: float) -> bool:
        """Add one step's mean losses; return True if it closed a window, so there is news to show."""
        self.names = names
        self.lr = lr
        self.window.append((step, means))
        self.images += self.batch_size
        if step % self.every == 0:
            self._close()
            return True
        return False

    def take(self) -> list[Point]:
        """Return the points of the windows closed since the last call.

        Raises NotFiniteError if a loss is not finite, in the open window too.
        """
        self._read_window()
        points = self.points
        self.points = []
        return points

    def flush(self) -> list[Point]:
        """Close an open window, then do the same as ``take``."""
        if self.window:
            self._close()
        return self.take()

    @property
    def speed(self) -> float:
        """Images a second over all ranks."""
        seconds = time.perf_counter() - self.started
        return self.images / max(1e-9, seconds)

    def state(self) -> dict[str, Any]:
        """Return the open window as plain data; floats are kept exactly."""
        window = [[step, means.tolist()] for step, means in self.window]
        return {"names": self.names, "lr": self.lr, "window": window}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Open the window that ``state`` returned; its losses lie on the device again."""
        self.names = tuple(state["names"])
        self.lr = state["lr"]
        self.window = [(step, torch.tensor(means, device=device)) for step, means in state["window"]]

    def _read_window(self) -> list[list[float]]:
        """Return the losses of each step of the open window.

        Raises NotFiniteError at the first step where one is not finite.
        """
        if not self.window:
            return []
        # one transfer for the whole window
        losses: list[list[float]] = torch.stack([means for _, means in self.window]).tolist()
        for (step, _), step_losses in zip(self.window, losses, strict=True):
            if not all(map(math.isfinite, step_losses)):
                raise NotFiniteError(step, dict(zip(self.names, step_losses, strict=True)))
        return losses

    def _close(self) -> None:
        """Average the open window into a point."""
        metrics: dict[str, float] = {}
        by_name = zip(*self._read_window(), strict=True)
        for name, losses in zip(self.names, by_name, strict=True):
            metrics[name] = math.fsum(losses) / len(losses)
        metrics["lr"] = self.lr
        last_step, _ = self.window[-1]
        self.last = metrics
        self.points.append(Point(last_step, time.time(), metrics))
        self.window.clear()


class Clock:
    """Measures the seconds that each part of the work takes.

    A GPU's work is queued, so its laps are events, which ``seconds`` waits for and reads.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Forget all laps and begin a new one."""
        self._seconds: dict[str, float] = {}
        self._laps: list[tuple[str, Any]] = []
        self._last = self._now()

    def lap(self, name: str) -> None:
        """End a lap: the time since the last one was spent on ``name``."""
        now = self._now()
        if self.cuda:
            self._laps.append((name, now))
        else:
            self._add(name, now - self._last)
            self._last = now

    def seconds(self) -> dict[str, float]:
        """Return ``seconds_<name>`` -> seconds, over all laps since the restart."""
        self._read_events()
        return {f"seconds_{name}": value for name, value in self._seconds.items()}

    def _now(self) -> Any:
        """Return the time in seconds, or on a GPU an event at this point of its queue."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _read_events(self) -> None:
        """Wait for the events of a GPU's laps and add up their times."""
        if self._laps:
            _, last_event = self._laps[-1]
            last_event.synchronize()
        for name, event in self._laps:
            milliseconds = self._last.elapsed_time(event)
            self._add(name, milliseconds / 1000)
            self._last = event
        self._laps.clear()

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
