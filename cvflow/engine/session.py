"""What surrounds a training: asked by the loop, answered by the runtime (this process, Ray Train, Ray Tune)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if (
    TYPE_CHECKING
):  # Ray's helpers read these classes: the import of torch would slow a start on several workers
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
    """Where a training stands. eta: seconds; speed: images a second over all ranks."""

    epoch: int
    epochs: int
    step: int
    steps: int
    speed: float
    eta: float
    metrics: Mapping[str, float] = field(default_factory=dict)


class Session(Protocol):
    """rank and world size, the device, where checkpoints live, and the ways out.

    checkpoint_seconds: longest time between two checkpoints. report_seconds: the longest that a report takes to where it is kept.
    """

    rank: int
    world_size: int
    device: torch.device
    loader_workers: int
    checkpoint_seconds: float
    report_seconds: float
    checkpoints: CheckpointStore

    def report(self, points: Sequence[Point]) -> None:
        """Hand over new points; a barrier: every rank calls it equally often, rank 0's points count."""
        ...

    def progress(self, at: Progress) -> None:
        """Show where the training stands; called on rank 0, often; cheap."""
        ...

    def say(self, text: str) -> None:
        """Tell the user something that happened; called on rank 0, seldom."""
        ...

    def should_stop(self) -> bool:
        """Whether the user asked to stop: write a checkpoint and end. Asked after every step; ranks may differ."""
        ...
