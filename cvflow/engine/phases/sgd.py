"""``sgd``: epochs of gradient steps, each followed by an evaluation on val and a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from torch import Tensor

from cvflow.config import Phase
from cvflow.engine.checkpoint import Checkpoint, flatten_optimizer, unflatten_optimizer
from cvflow.engine.distributed import agree, barrier
from cvflow.engine.freeze import set_mode
from cvflow.engine.job import Job
from cvflow.engine.meter import Meter, NotFiniteError
from cvflow.engine.phases import Cursor, Run
from cvflow.engine.phases.score import validate
from cvflow.engine.phases.steps import GradientSteps
from cvflow.engine.schedules import with_warmup
from cvflow.engine.session import Point, Progress
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.registry import build, register
from cvflow.types import Batch

REPORT_EVERY = 5.0
"""Seconds between two reports within an epoch."""
MOST_SKIPPED = 50
"""Steps in a row that may be skipped: beyond, the weights themselves are spoilt."""
MOST_IDS = 64
"""Ids that a message lists."""


@register("phase", "sgd")
def sgd() -> Run:
    """Gradient steps by the phase's optimiser and schedule; of no epochs it asks for no data."""

    def run(job: Job, phase: Phase, cursor: Cursor, resumed: Checkpoint | None) -> None:
        if phase.epochs:
            Sgd(job, phase, cursor, resumed).run()

    return run


class Sgd(GradientSteps):
    """Gradient steps to the end of a phase, with everything around them."""

    def __init__(self, job: Job, phase: Phase, cursor: Cursor, resumed: Checkpoint | None) -> None:
        super().__init__(job, phase, cursor)
        self.factor = with_warmup(
            build("schedule", phase.schedule),
            warmup=round(phase.warmup_epochs * self.steps),
            total=phase.epochs * self.steps,
        )
        self.meter = Meter(job.recipe.tracking.every, self.batch_size)
        self.skipped_in_a_row = 0
        self.saved_at = self.reported_at = time.monotonic()
        if resumed is not None:
            self._restore(resumed)

    def run(self) -> None:
        """Train from where the cursor stands to the end of the phase."""
        self.clock.restart()
        while self.cursor.epoch < self.phase.epochs and not self._out_of_patience():
            self._epoch()

    def _out_of_patience(self) -> bool:
        patience = self.phase.patience
        return patience is not None and self.cursor.stale >= patience

    def _epoch(self) -> None:
        set_mode(self.job.model, self.phase)
        self.meter.restart()
        try:
            for batch in self.batches():
                self.clock.lap("data")
                window_closed = self._step(batch)
                self._after_step(window_closed)
            points = self.meter.flush()
        except NotFiniteError as error:
            raise self._with_ids(error) from None
        self._finish_epoch(points)

    def _step(self, host_batch: Batch) -> bool:
        """Take the next step of the epoch; return whether a window of losses closed."""
        cursor = self.cursor
        self.set_lr(self._scheduled_lrs())
        means, taken = self.take_step(host_batch)
        cursor.batch += 1
        if not taken:
            self._count_skipped(means)
            return False
        self.skipped_in_a_row = 0
        self.job.update_average(cursor.step)
        lr = float(self.optimizer.param_groups[0]["lr"])
        return self.meter.add(cursor.step, self.update.names, means, lr)

    def _scheduled_lrs(self) -> list[float]:
        """Return the learning rate of each parameter group where the cursor stands."""
        cursor = self.cursor
        step_of_phase = cursor.epoch * self.steps + cursor.batch
        factor = self.factor(step_of_phase, cursor.epoch, tuple(cursor.scores))
        return [base * factor for base in self.base_lrs]

    def _after_step(self, window_closed: bool) -> None:
        """Show, report, save and stop if it is time for it."""
        if window_closed and self.session.rank == 0:
            self._show()
        # ranks must agree on the rest, which costs time: only at the end of a window
        if self.session.world_size > 1 and not window_closed:
            return
        now = time.monotonic()
        stop, save, report = agree(
            self.session.should_stop(),
            now - self.saved_at > self.session.checkpoint_seconds,
            now - self.reported_at > REPORT_EVERY,
        )
        if report or save or stop:
            self._report(self.meter.take())
        if save or stop:
            self._save()
        if stop:
            raise self._interrupted()

    def _show(self) -> None:
        cursor = self.cursor
        steps_left = (self.phase.epochs - cursor.epoch) * self.steps - cursor.batch
        progress = Progress(
            epoch=cursor.epoch + 1,
            epochs=self.phase.epochs,
            step=cursor.batch,
            steps=self.steps,
            speed=self.meter.speed,
            eta=steps_left * self.batch_size / self.meter.speed,
            metrics=self.meter.last,
        )
        self.session.progress(progress)

    def _finish_epoch(self, points: list[Point]) -> None:
        """Evaluate on val, report the epoch, write the checkpoint."""
        cursor = self.cursor
        # no images if the training was stopped right here and only the evaluation is left
        speed = {"images_per_second": self.meter.speed} if self.meter.images else {}
        self._report(points)
        try:
            scores, improved = validate(self.job, cursor)
        except InterruptedRunError:
            self._save()
            raise
        self.clock.lap("evaluation")
        cursor.epoch += 1
        cursor.epochs_done += 1
        cursor.batch = 0
        summary = {"epoch": float(cursor.epochs_done), **speed, **scores, **self.clock.seconds()}
        if cursor.skipped:
            summary["skipped_steps"] = float(cursor.skipped)
        # the report and the checkpoint below count towards the next epoch's times
        self.clock.restart()
        self._report([Point(cursor.step, time.time(), summary)])
        self._save(improved)
        if any(agree(self.session.should_stop())):
            raise self._interrupted()

    def _report(self, points: Sequence[Point]) -> None:
        self.cursor.points += [asdict(point) for point in points]
        self.session.report(points)
        self.reported_at = time.monotonic()
        self.clock.lap("tracking")

    def _save(self, best: bool = False) -> None:
        """Write the checkpoint of the cursor's step."""
        if self.session.rank == 0:
            self.session.checkpoints.save(self.cursor.step, self._checkpoint(), best)
        barrier()
        self.cursor.saved(self.session.report_seconds)
        self.saved_at = time.monotonic()
        self.clock.lap("checkpoint")

    def _checkpoint(self) -> Checkpoint:
        optimizer_tensors, optimizer_data = flatten_optimizer(self.optimizer.state_dict())
        state = {
            **asdict(self.cursor),
            "optimizer": optimizer_data,
            "meter": self.meter.state(),
            "scaler": self.update.scaler.state_dict(),
        }
        return Checkpoint(state, {**self.job.weights(), "optimizer": optimizer_tensors})

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Restore the optimiser and the window that was open; the loop has restored the weights."""
        tensors, state = checkpoint.tensors, checkpoint.state
        self.optimizer.load_state_dict(unflatten_optimizer(tensors["optimizer"], state["optimizer"]))
        self.meter.restore(state["meter"], self.session.device)
        self.update.scaler.load_state_dict(state["scaler"])

    def _ids(self, step: int) -> str:
        """Return the ids of the global batch of a step of this epoch, shortened if there are many."""
        steps_back = self.cursor.step - step
        start = (self.cursor.batch - steps_back - 1) * self.batch_size
        items = self.order[start : start + self.batch_size]
        ids = ", ".join(str(self.rows[row]["id"]) for row, _ in items[:MOST_IDS])
        if len(items) > MOST_IDS:
            return f"{ids}, ... ({len(items)} in all)"
        return ids

    def _with_ids(self, error: NotFiniteError) -> CvflowError:
        return CvflowError(
            f"{error}. The batch: {self._ids(error.step)}. "
            "Look at these, type a lower train.optimizer.lr or train.warmup_epochs=1, "
            "or train.not_finite=skip to leave such steps out; the checkpoint before is kept."
        )

    def _count_skipped(self, means: Tensor) -> None:
        """Count and report a skipped step; raise CvflowError after too many in a row."""
        self.cursor.skipped += 1
        self.skipped_in_a_row += 1
        step = self.cursor.step
        losses = dict(zip(self.update.names, means.tolist(), strict=True))
        message = (
            f"step {step} skipped, its loss or gradient is not finite: {losses}. The batch: {self._ids(step)}"
        )
        if self.session.rank == 0:
            self.session.say(message)
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise CvflowError(
                f"{MOST_SKIPPED} steps in a row were not finite. "
                f"Type a lower train.optimizer.lr. The last: {message}"
            )

    def _interrupted(self) -> InterruptedRunError:
        step = self.cursor.step
        return InterruptedRunError(f"stopped after step {step}; the same command goes on from there")
