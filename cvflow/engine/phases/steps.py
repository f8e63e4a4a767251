"""Gradient steps of a phase, one at a time: its data, its optimiser, and nothing that reports or saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cvflow.config import Phase, Recipe
from cvflow.engine.freeze import trainable
from cvflow.engine.job import Job
from cvflow.engine.meter import Clock
from cvflow.engine.phases import Cursor
from cvflow.engine.update import Update
from cvflow.errors import Fault, RequestError
from cvflow.loading.division import Item, items_of
from cvflow.loading.loader import seed_of, train_batches
from cvflow.loading.mixing import Mix
from cvflow.registry import build
from cvflow.types import Batch, Sample


class GradientSteps:
    """The steps of a phase under way.

    steps: in an epoch. batch_size: samples of a step, over all ranks. base_lrs: the lr of each of the
    optimiser's parameter groups, before any schedule.
    """

    def __init__(self, job: Job, phase: Phase, cursor: Cursor) -> None:
        self.job = job
        self.phase = phase
        self.cursor = cursor
        self.session = job.session
        recipe = at_size(job.recipe, phase)
        self.rows = job.dataset.split("train")
        self.counts = job.task.count(self.rows)
        self.sampler = job.task.sampler(recipe, job.info)
        self.transform = job.task.transforms(recipe, "train")
        self.mix: Mix | None = build("mix", recipe.train.mix) if recipe.train.mix else None
        self.order = self._order()
        self.batch_size = min(recipe.train.batch_size, len(self.order))
        self.steps = len(self.order) // self.batch_size
        self.optimizer = build("optimizer", phase.optimizer, trainable(job.model, phase))
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.clock = Clock(self.session.device)
        self.update = Update(job, self.optimizer, self.clock)
        if phase.image_size is not None:
            self._check_size(phase.image_size)

    def batches(self) -> Iterator[Batch]:
        """Begin the cursor's epoch, and return this rank's part of its batches, from the cursor on."""
        self.order = self._order()
        return train_batches(
            self.job.task,
            self.rows,
            self.transform,
            self.order,
            self.batch_size,
            self.session.rank,
            self.session.world_size,
            self.cursor.epochs_done,
            self.job.recipe.seed,
            self.session.loader_workers,
            start=self.cursor.batch * self.batch_size,
            mix=self.mix,
        )

    def set_lr(self, lrs: Sequence[float]) -> None:
        """Give each of the optimiser's parameter groups its learning rate."""
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr

    def take_step(self, host_batch: Batch) -> tuple[Tensor, bool]:
        """Take one optimiser step and count it.

        Returns the mean of each loss before the step, over all ranks, and whether the step was taken:
        one that is not finite may be skipped.
        """
        recipe = self.job.recipe
        batch = host_batch.to(self.session.device, channels_last=recipe.train.channels_last)
        # ranks must not drop the same neurons
        seed = seed_of(recipe.seed, self.cursor.step, self.session.rank)
        means, taken = self.update(batch, seed)
        self.cursor.step += 1
        return means, taken

    def _order(self) -> list[Item]:
        """Return the samples of the cursor's epoch, in the order that (seed, epoch) fixes."""
        rows = self.sampler.order(self.rows, self.job.recipe.seed, self.cursor.epochs_done)
        return items_of(rows, self.counts)

    def _check_size(self, size: tuple[int, int]) -> None:
        """Raise RequestError if the model does not take images of the phase's size."""
        first_row, _ = self.order[0]
        sample = next(iter(self.job.task.samples(self.rows[first_row])))
        check_size(self.job, size, self.transform(sample))


def check_size(job: Job, size: tuple[int, int], sample: Sample) -> None:
    """Raise RequestError if the model does not take the sample, which has the phase's size."""
    batch = job.task.collate([sample]).to(job.session.device)
    job.model.eval()
    try:
        with torch.no_grad():
            job.task.losses(job.task.outputs(job.model, batch), batch)
    except RuntimeError as error:
        got = f"{size[0]}x{size[1]} ({error})"
        fix = (
            "Leave image_size out, or choose a backbone that takes any size "
            "(one that pools over the whole image)."
        )
        fault = Fault("train.image_size", got, "a size that the model takes", fix)
        raise RequestError(fault) from error


def at_size(recipe: Recipe, phase: Phase) -> Recipe:
    """Return the recipe with the image size of the phase."""
    if phase.image_size is None:
        return recipe
    image = recipe.image.model_copy(update={"size": phase.image_size})
    return recipe.model_copy(update={"image": image})
