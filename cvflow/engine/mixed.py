"""The losses of a batch whose images are mixed, for any task: of both targets, by their shares, the
network run once.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from cvflow.tasks.base import Task
from cvflow.types import Batch, Loss, Outputs


def losses_of(task: Task, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
    """Return ``task.losses``; if the batch is mixed, share * its own + (1 - share) * the partners',
    sums and counts alike.
    """
    losses = task.losses(outputs, batch)
    if batch.mixed is None:
        return losses
    partner_losses = task.losses(outputs, replace(batch, targets=batch.mixed.targets))
    share = batch.mixed.share
    return {name: combined(loss, partner_losses[name], share) for name, loss in losses.items()}


def combined(loss: Loss, partner: Loss, share: Tensor) -> Loss:
    """Return a loss that is ``share`` of the one and the rest of the other."""
    total = share * loss.sum + (1 - share) * partner.sum
    count = share * loss.count + (1 - share) * partner.count
    return Loss(total, count)
