"""The phases that a training is made of: one file a kind. Each takes a job from where the cursor stands to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cvflow.config import Phase
from cvflow.engine.checkpoint import Checkpoint
from cvflow.engine.job import Job


@dataclass
class Cursor:
    """Where the training stands.

    phase: its index. epoch, batch: epochs done in the phase, batches done in the present epoch. epochs_done, step: in
    all, over the phases. best: score of the best weights. stale: epochs since then. scores: of each epoch of the phase,
    higher is better. skipped: steps left out for a loss that was not finite. points: those since the checkpoint before
    and those that may be under way to the history, so that a resumed run can report them again (a step is written once).
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    epochs_done: int = 0
    step: int = 0
    best: float | None = None
    stale: int = 0
    scores: list[float] = field(default_factory=list)
    skipped: int = 0
    points: list[dict[str, Any]] = field(default_factory=list)

    def saved(self, report_seconds: float) -> None:
        """A checkpoint holds the points; those that may still be under way to the history stay for the next one."""
        self.points = [point for point in self.points if 0 <= time.time() - point["time"] < report_seconds]

    def next_phase(self) -> None:
        """To the start of the phase after this one."""
        self.phase, self.epoch, self.batch, self.stale, self.scores = self.phase + 1, 0, 0, 0, []


Run = Callable[[Job, Phase, Cursor, Checkpoint | None], None]
"""What the builder of a phase gives. The checkpoint: where the phase was broken off, if it was.

A builder with ``one_pass`` true takes one epoch, whatever the phase's ``epochs``, and augments nothing.
"""
