"""The losses of a batch whose images are mixed, for any task: of both targets, by their shares, the network run once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn

from cvflow.tasks.base import Task
from cvflow.types import Batch, Loss


def losses_of(task: Task, model: nn.Module, batch: Batch) -> dict[str, Loss]:
    """``task.losses``; where the batch is mixed, share * own + (1 - share) * partners', sums and counts alike."""
    if batch.mixed is None:
        return task.losses(model, batch)
    share, answers = batch.mixed.share, Answers(model)
    own = task.losses(cast(nn.Module, answers), batch)
    partners = task.losses(cast(nn.Module, answers.again()), replace(batch, targets=batch.mixed.targets))
    return {name: combined(own[name], partners[name], share) for name in own}


def combined(own: Loss, partners: Loss, share: Tensor) -> Loss:
    return Loss(
        share * own.sum + (1 - share) * partners.sum, share * own.count + (1 - share) * partners.count
    )


class Answers:
    """A model's answers, and the same ones again: the images are the same for both targets."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._given, self._next = model, list[Any](), 0

    def again(self) -> Answers:
        self._next = 0
        return self

    def __call__(self, *inputs: Any) -> Any:
        if self._next == len(self._given):
            self._given.append(self._model(*inputs))
        self._next += 1
        return self._given[self._next - 1]
