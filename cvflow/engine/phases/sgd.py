"""``sgd``: epochs of gradient steps, each followed by an evaluation on val and a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import torch

from cvflow.config import Phase, Recipe
from cvflow.engine.checkpoint import Checkpoint, flatten_optimizer, unflatten_optimizer
from cvflow.engine.distributed import agree, barrier
from cvflow.engine.freeze import set_mode, trainable
from cvflow.engine.job import Job
from cvflow.engine.meter import Clock, Meter, NotFiniteError
from cvflow.engine.phases import Cursor, Run
from cvflow.engine.phases.score import validate
from cvflow.engine.schedules import with_warmup
from cvflow.engine.session import Point, Progress
from cvflow.engine.update import Update
from cvflow.errors import CvflowError, Fault, InterruptedRunError, RequestError
from cvflow.loading.loader import Item, items_of, seed_of, train_batches
from cvflow.loading.mixing import Mix
from cvflow.registry import build, register
from cvflow.types import Batch, Sample

REPORT_EVERY = 5.0
"""Seconds between two reports within an epoch."""
MOST_SKIPPED = 50
"""Steps in a row that may be skipped: beyond, the weights themselves are spoilt."""
NAMED = 64
"""Ids that a message lists."""


@register("phase", "sgd")
def sgd() -> Run:
    """Gradient steps by the phase's optimiser and schedule; of no epochs it asks for no data."""
    return lambda job, phase, cursor, resumed: (
        Sgd(job, phase, cursor, resumed).run() if phase.epochs else None
    )


class Sgd:
    """One such phase under way."""

    def __init__(self, job: Job, phase: Phase, cursor: Cursor, resumed: Checkpoint | None) -> None:
        self.job, self.phase, self.cursor, self.session = job, phase, cursor, job.session
        recipe = at_size(job.recipe, phase)
        self.rows = job.dataset.split("train")
        self.sampler = job.task.sampler(recipe, job.info)
        self.transform = job.task.transforms(recipe, "train")
        self.counts = job.task.count(self.rows)
        self.mix: Mix | None = build("mix", recipe.train.mix) if recipe.train.mix else None
        self.order = self._order()
        self.batch_size = min(recipe.train.batch_size, len(self.order))
        self.steps = len(self.order) // self.batch_size
        self.optimizer = build("optimizer", phase.optimizer, trainable(job.model, phase))
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.factor = with_warmup(
            build("schedule", phase.schedule), round(phase.warmup_epochs * self.steps), phase.epochs * self.steps
        )  # fmt: skip
        self.clock = Clock(self.session.device)
        self.update = Update(job, self.optimizer, self.clock)
        self.meter = Meter(recipe.tracking.every, self.batch_size)
        if phase.image_size is not None:
            check_size(
                job,
                phase.image_size,
                self.transform(next(iter(job.task.samples(self.rows[self.order[0][0]])))),
            )
        self.skipped_in_a_row = 0
        self.saved = self.reported = time.monotonic()
        if resumed is not None:
            self._restore(resumed)

    def run(self) -> None:
        self.clock.restart()
        while self.cursor.epoch < self.phase.epochs and not self._stale():
            self._epoch()

    def _stale(self) -> bool:
        return self.phase.patience is not None and self.cursor.stale >= self.phase.patience

    def _epoch(self) -> None:
        self.order = self._order()
        set_mode(self.job.model, self.phase)
        self.meter.restart()
        try:
            for batch in self._batches():
                self.clock.lap("data")
                window_closed = self._step(batch)
                self._look(window_closed)
            points = self.meter.flush()
        except NotFiniteError as error:
            raise self._with_ids(error) from None
        self._finish(points)

    def _step(self, host_batch: Batch) -> bool:
        """One optimiser step; whether a window of losses closed."""
        cursor, recipe = self.cursor, self.job.recipe
        lr = self._set_lr()
        batch = host_batch.to(self.session.device, channels_last=recipe.train.channels_last)
        means, taken = self.update(batch, seed_of(recipe.seed, cursor.step, self.session.rank))
        cursor.step += 1
        cursor.batch += 1
        if not taken:
            self._skipped(means)
            return False
        self.skipped_in_a_row = 0
        if self.job.average is not None:
            self.job.average.update(self.job.model, cursor.step)
        return self.meter.add(cursor.step, self.update.names, means, lr)

    def _set_lr(self) -> float:
        cursor = self.cursor
        factor = self.factor(cursor.epoch * self.steps + cursor.batch, cursor.epoch, tuple(cursor.scores))
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        return float(self.optimizer.param_groups[0]["lr"])

    def _look(self, window_closed: bool) -> None:
        """Show, report, save and stop where it is time. Several ranks agree on it, which costs: at a window's end only."""
        if window_closed and self.session.rank == 0:
            self._show()
        if self.session.world_size > 1 and not window_closed:
            return
        now = time.monotonic()
        stop, save, report = agree(
            self.session.should_stop(),
            now - self.saved > self.session.checkpoint_seconds,
            now - self.reported > REPORT_EVERY,
        )
        if report or save or stop:
            self._report(self.meter.take())
        if save or stop:
            self._save()
        if stop:
            raise self._interrupted()

    def _show(self) -> None:
        left = (self.phase.epochs - self.cursor.epoch) * self.steps - self.cursor.batch
        eta = left * self.batch_size / self.meter.speed
        at = self.cursor.epoch + 1, self.phase.epochs, self.cursor.batch, self.steps
        self.session.progress(Progress(*at, self.meter.speed, eta, self.meter.last))

    def _finish(self, points: list[Point]) -> None:
        """Evaluate on val, report the epoch, write the checkpoint."""
        cursor = self.cursor
        speed = (
            {"images_per_second": self.meter.speed} if self.meter.images else {}
        )  # none where it was stopped just here
        self._report(points)
        try:
            scores, improved = validate(self.job, cursor)
        except InterruptedRunError:
            self._save()
            raise
        self.clock.lap("evaluation")
        cursor.epoch, cursor.epochs_done, cursor.batch = cursor.epoch + 1, cursor.epochs_done + 1, 0
        summary = {"epoch": float(cursor.epochs_done), **speed, **scores, **self.clock.seconds()}
        if cursor.skipped:
            summary["skipped_steps"] = float(cursor.skipped)
        self.clock.restart()  # this report and checkpoint are in the next epoch's times
        self._report([Point(cursor.step, time.time(), summary)])
        self._save(improved)
        if any(agree(self.session.should_stop())):
            raise self._interrupted()

    def _report(self, points: Sequence[Point]) -> None:
        self.cursor.points += [asdict(point) for point in points]
        self.session.report(points)
        self.reported = time.monotonic()
        self.clock.lap("tracking")

    def _save(self, best: bool = False) -> None:
        """Write the checkpoint of the present step."""
        if self.session.rank == 0:
            tensors, data = flatten_optimizer(self.optimizer.state_dict())
            state = {
                **asdict(self.cursor),
                "optimizer": data,
                "meter": self.meter.state(),
                "scaler": self.update.scaler.state_dict(),
            }
            self.session.checkpoints.save(
                self.cursor.step, Checkpoint(state, {**self.job.weights(), "optimizer": tensors}), best
            )
        barrier()
        self.cursor.saved(self.session.report_seconds)
        self.saved = time.monotonic()
        self.clock.lap("checkpoint")

    def _restore(self, checkpoint: Checkpoint) -> None:
        """The optimiser, and the window that was open; the weights are the loop's."""
        self.optimizer.load_state_dict(
            unflatten_optimizer(checkpoint.tensors["optimizer"], checkpoint.state["optimizer"])
        )
        self.meter.restore(checkpoint.state["meter"], self.session.device)
        self.update.scaler.load_state_dict(checkpoint.state["scaler"])

    def _order(self) -> list[Item]:
        """The samples of the present epoch, in the order that (seed, epoch) fixes."""
        rows = self.sampler.order(self.rows, self.job.recipe.seed, self.cursor.epochs_done)
        return items_of(rows, self.counts)

    def _batches(self) -> Iterator[Batch]:
        """This rank's part of the epoch's global batches, from the cursor on."""
        session = self.session
        return train_batches(
            self.job.task, self.rows, self.transform, self.order, self.batch_size, session.rank, session.world_size,
            self.cursor.epochs_done, self.job.recipe.seed, session.loader_workers, start=self.cursor.batch * self.batch_size,
            mix=self.mix,
        )  # fmt: skip

    def _ids(self, step: int) -> str:
        """The ids of the global batch of a step of this epoch."""
        at = (self.cursor.batch - (self.cursor.step - step) - 1) * self.batch_size
        items = self.order[at : at + self.batch_size]
        more = f", ... ({len(items)} in all)" if len(items) > NAMED else ""
        return ", ".join(str(self.rows[row]["id"]) for row, _ in items[:NAMED]) + more

    def _with_ids(self, error: NotFiniteError) -> CvflowError:
        return CvflowError(
            f"{error}. The batch: {self._ids(error.step)}. Look at these, type a lower train.optimizer.lr or train.warmup_epochs=1, "
            "or train.not_finite=skip to leave such steps out; the checkpoint before is kept."
        )

    def _skipped(self, means: torch.Tensor) -> None:
        """Say which step was left out; give up where no step is taken any more."""
        self.cursor.skipped += 1
        self.skipped_in_a_row += 1
        losses = dict(zip(self.update.names, means.tolist(), strict=True))
        said = f"step {self.cursor.step} skipped, its loss or gradient is not finite: {losses}. The batch: {self._ids(self.cursor.step)}"
        if self.session.rank == 0:
            self.session.say(said)
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise CvflowError(
                f"{MOST_SKIPPED} steps in a row were not finite. Type a lower train.optimizer.lr. The last: {said}"
            )

    def _interrupted(self) -> InterruptedRunError:
        return InterruptedRunError(
            f"stopped after step {self.cursor.step}; the same command goes on from there"
        )


def check_size(job: Job, size: tuple[int, int], sample: Sample) -> None:
    """Raise RequestError where the model does not take images of the phase's size."""
    batch = job.task.collate([sample]).to(job.session.device)
    job.model.eval()
    try:
        with torch.no_grad():
            job.task.losses(job.task.outputs(job.model, batch), batch)
    except RuntimeError as error:
        fix = "Leave image_size out, or choose a backbone that takes any size (one that pools over the whole image)."
        raise RequestError(
            Fault("train.image_size", f"{size[0]}x{size[1]} ({error})", "a size that the model takes", fix)
        ) from error


def at_size(recipe: Recipe, phase: Phase) -> Recipe:
    """The recipe with the image size of the phase."""
    if phase.image_size is None:
        return recipe
    return recipe.model_copy(update={"image": recipe.image.model_copy(update={"size": phase.image_size})})
