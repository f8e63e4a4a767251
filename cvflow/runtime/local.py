"""The session of this process: ``compute.workers: 0``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cvflow.config import Compute
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.session import Point, Progress
from cvflow.errors import Fault, RequestError
from cvflow.runtime.console import Console
from cvflow.runtime.cores import compute_on, threads
from cvflow.runtime.interrupts import Interrupts

FEW = 2000
"""Rows that one process has answered before workers would have started."""


class LocalSession:
    """One rank, its device, a history file, the terminal."""

    rank = 0
    world_size = 1
    report_seconds = 0.0

    def __init__(
        self,
        compute: Compute,
        checkpoints: CheckpointStore,
        history: History | None,
        console: Console,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.device = pick_device(compute)
        self.loader_workers = compute.loader_workers
        self.checkpoint_seconds = 60 * compute.checkpoint_minutes
        self.checkpoints = checkpoints
        self._history, self._console, self._interrupts = history, console, interrupts
        compute_on(threads(compute))

    def report(self, points: Sequence[Point]) -> None:
        if self._history is not None:
            self._history.append(points)
        for point in points:
            self._console.point(point)

    def progress(self, at: Progress) -> None:
        self._console.progress(at)

    def say(self, text: str) -> None:
        self._console.say(text)

    def should_stop(self) -> bool:
        return self._interrupts is not None and self._interrupts.asked


def pick_device(compute: Compute) -> torch.device:
    """The device asked for; auto = the first GPU where there is one."""
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise RequestError(
            Fault("compute.device", "cuda", "a machine with a CUDA device", "Type compute.device=cpu.")
        )
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")


def here_if_few(compute: Compute, rows: int) -> Compute:
    """The compute, in this process where there are few rows to answer; with the same threads, so to
    the same bits.
    """
    return compute.model_copy(update={"workers": 0, "threads": threads(compute)}) if rows <= FEW else compute
