"""What the loop asks of its surroundings, which are this process, Ray Train or Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Ray's helper processes import this file: importing torch would slow a start on several workers
    import torch

    from cvflow.engine.checkpoint import CheckpointStore


@dataclass(frozen=True)
class Point:
    """Metric values at a global optimiser step. time: seconds since the epoch."""

    step: int
    time: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Progress:
    """How far a training has come. eta: seconds; speed: images a second over all ranks."""

    epoch: int
    epochs: int
    step: int
    steps: int
    speed: float
    eta: float
    metrics: Mapping[str, float] = field(default_factory=dict)


class Session(Protocol):
    """A training's rank, device and checkpoints, and its ways to report.

    checkpoint_seconds: longest time between two checkpoints. report_seconds: the longest that a
    report takes until it is stored.
    """

    rank: int
    world_size: int
    device: torch.device
    loader_workers: int
    checkpoint_seconds: float
    report_seconds: float
    checkpoints: CheckpointStore

    def report(self, points: Sequence[Point]) -> None:
        """Hand over new points; those of rank 0 count. A barrier: every rank calls it equally often."""
        ...

    def progress(self, progress: Progress, /) -> None:
        """Show how far the training has come; called on rank 0, often; cheap."""
        ...

    def say(self, text: str) -> None:
        """Tell the user something that happened; called on rank 0, seldom."""
        ...

    def should_stop(self) -> bool:
        """Whether the user asked to stop: then write a checkpoint and end.

        Asked after every step; the answers of ranks may differ.
        """
        ...
