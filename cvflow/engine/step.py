"""Model and task as one module, so that DDP and compile see the losses, and the losses reduced over ranks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cvflow.engine.distributed import sum_over_ranks
from cvflow.tasks.base import Task
from cvflow.types import Batch, Loss


class Step(nn.Module):
    """batch -> named losses. Touching the bare model for the loss would leave DDP's gradients unsynchronised."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Batch) -> dict[str, Loss]:
        return self.task.losses(self.model, batch)


def reduce(losses: Mapping[str, Loss], world_size: int) -> tuple[Tensor, Tensor]:
    """(loss to call backward on, the global mean of each loss, detached, in the mapping's order).

    DDP averages gradients over ranks; times the world size, over the global count, that makes
    the step of W workers the step of one with the whole batch.
    """
    sums = torch.stack([loss.sum for loss in losses.values()])
    counts = torch.stack([loss.count for loss in losses.values()]).to(sums.dtype)
    table = sum_over_ranks(torch.stack([sums.detach(), counts]))
    counts = table[1].clamp(min=1)
    return (sums * (world_size / counts)).sum(), table[0] / counts
