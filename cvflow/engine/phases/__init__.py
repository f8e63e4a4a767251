"""The phases that a training is made of, one file a kind.

Each takes a job from where the cursor stands to the phase's end.
"""

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

    phase: its index. epoch, batch: epochs done in the phase, batches done in the present epoch.
    epochs_done, step: in all, over the phases. best: score of the best weights. stale: epochs since
    then. scores: of each epoch of the phase, higher is better. skipped: steps skipped because a loss
    or gradient was not finite. points: those since the previous checkpoint and those that may not
    have reached the history yet, so that a resumed run can report them again (the history takes each
    step once).
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
        """Drop the points that a checkpoint now holds, once they must have reached the history."""
        now = time.time()
        self.points = [point for point in self.points if 0 <= now - point["time"] < report_seconds]

    def next_phase(self) -> None:
        """Move to the start of the next phase."""
        self.phase += 1
        self.epoch = 0
        self.batch = 0
        self.stale = 0
        self.scores = []


Run = Callable[[Job, Phase, Cursor, Checkpoint | None], None]
"""What the builder of a phase returns. The checkpoint: where the phase was broken off, if it was.

A builder with ``one_pass`` true takes one epoch, whatever the phase's ``epochs``, and does not augment.
"""
