"""What DDP and compile see: model and task as one module; and the sums of losses over ranks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cvflow.engine.distributed import sum_over_ranks
from cvflow.engine.mixed import losses_of
from cvflow.tasks.base import Task
from cvflow.types import Batch, Loss


class Step(nn.Module):
    """batch -> named losses.

    Touching the bare model for the loss would leave DDP's gradients unsynchronised.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Batch) -> dict[str, Loss]:
        return losses_of(self.task, self.task.outputs(self.model, batch), batch)


def counted(losses: Mapping[str, Loss]) -> tuple[Tensor, Tensor]:
    """Return (sums with gradients, 2 x losses: sums and counts without), in the mapping's order."""
    sums = torch.stack([loss.sum.float() for loss in losses.values()])
    counts = torch.stack([loss.count for loss in losses.values()]).to(sums)
    return sums, torch.stack([sums.detach(), counts])


def reduce(table: Tensor) -> Tensor:
    """Return the 2 x losses table summed over ranks.

    A rank's gradients are of sum * W / global count: DDP averages them over W ranks, so the step of
    W workers is the step of one with the whole batch.
    """
    return sum_over_ranks(table.clone())


def nonzero(counts: Tensor) -> Tensor:
    """Return counts to divide by, 1 in place of 0: the sum of nothing is 0.

    Weights make them any positive number.
    """
    return counts.where(counts > 0, 1)
