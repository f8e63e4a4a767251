"""The learning-rate range test: the lr raised from step to step until the loss diverges (Smith 2015, arXiv 1506.01186)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cvflow.config import Phase
from cvflow.engine.freeze import check_freezes, set_mode
from cvflow.engine.job import Job
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.sgd import Sgd
from cvflow.errors import CvflowError, Fault, InterruptedRunError, RequestError
from cvflow.loading.loader import seed_of
from cvflow.types import Batch

DIVERGED = 4.0
"""The test ends where the running loss is so many times its least."""
RUNNING = 0.9
"""Weight of the past in the running loss, which says when to end."""
CLEAR = 3.0
"""The smoothed loss must fall by so many times the deviation of the losses from it: less is noise."""
REACH = 3
"""Steps on either side that the smoothed loss averages."""


@dataclass(frozen=True)
class RangeTest:
    """lrs, losses, smoothed: one entry a step. steepest: the lr where the smoothed loss falls fastest; tenth: of the lr at its least."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    tenth: float
    diverged: bool


def lr_find(job: Job, low: float, high: float, steps: int) -> RangeTest:
    """Train from ``low`` to ``high`` in ``steps`` steps, equally far apart on a log scale. The job's weights are spoilt by it.

    Of a plan with several phases it takes the first that steps. Raises CvflowError where the loss never fell
    by more than noise, RequestError where the phase's optimiser needs a closure.
    """
    phase = first_stepping(job.recipe.train.plan())
    check_freezes(job.model, [phase])
    set_mode(job.model, phase)
    raised = Raised(job, phase, low, high, steps)
    if raised.update.needs_closure:
        got = f"{phase.optimizer.name}, which searches along a line"
        raise RequestError(
            Fault(
                "train.optimizer",
                got,
                "an optimiser whose steps are as long as its lr",
                "Type train.optimizer=sgd.",
            )
        )
    lrs, losses = [], []
    running, least, diverged = 0.0, math.inf, False
    for lr, loss in raised.losses():
        if not math.isfinite(loss):
            diverged = True
            break
        lrs.append(lr)
        losses.append(loss)
        running = RUNNING * running + (1 - RUNNING) * loss
        mean = running / (1 - RUNNING ** len(losses))
        least = min(least, mean)
        if mean > DIVERGED * least:
            diverged = True
            break
    return suggested(lrs, losses, diverged)


class Raised(Sgd):
    """The phase's own steps, each at a higher lr."""

    def __init__(self, job: Job, phase: Phase, low: float, high: float, steps: int) -> None:
        super().__init__(job, phase, Cursor(), None)
        self.lrs = [low * (high / low) ** (i / (steps - 1)) for i in range(steps)]

    def losses(self) -> Iterator[tuple[float, float]]:
        """(lr, loss of the batch before its step); NaN where the step could not be taken."""
        for lr, batch in zip(self.lrs, self._endless(), strict=False):
            if self.session.should_stop():
                raise InterruptedRunError("interrupted")
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            on_device = batch.to(self.session.device, channels_last=self.job.recipe.train.channels_last)
            means, taken = self.update(on_device, seed_of(self.job.recipe.seed, self.cursor.step, 0))
            self.cursor.step += 1
            yield lr, float(means.sum()) if taken else math.nan

    def _endless(self) -> Iterator[Batch]:
        """Epoch after epoch."""
        while True:
            self.order = self._order()
            yield from self._batches()
            self.cursor.epochs_done += 1


def first_stepping(plan: Sequence[Phase]) -> Phase:
    """The first phase of gradient steps."""
    for phase in plan:
        if phase.kind.name == "sgd":
            return phase
    raise RequestError(
        Fault("train.kind", "no phase that steps", "a phase of kind sgd, whose lr can be found")
    )


def suggested(lrs: Sequence[float], losses: Sequence[float], diverged: bool) -> RangeTest:
    """The smoothed curve, and what it suggests."""
    smooth = smoothed(losses)
    least = min(range(len(smooth)), key=smooth.__getitem__) if smooth else 0
    falls = [smooth[i + 1] - smooth[i - 1] for i in range(1, least)]  # over equal distances in log lr
    if (
        not falls
        or min(falls) >= 0
        or smooth[0] - smooth[least] < CLEAR * deviation(losses[: least + 1], smooth)
    ):
        raise CvflowError(
            f"The loss did not clearly fall over {len(lrs)} steps; type a smaller --min, or a greater --max or --steps."
        )
    steepest = 1 + min(range(len(falls)), key=falls.__getitem__)
    return RangeTest(tuple(lrs), tuple(losses), tuple(smooth), lrs[steepest], lrs[least] / 10, diverged)


def deviation(losses: Sequence[float], smooth: Sequence[float]) -> float:
    """Of the losses from the smoothed curve, root mean square."""
    return math.sqrt(
        math.fsum((loss - mean) ** 2 for loss, mean in zip(losses, smooth, strict=False)) / len(losses)
    )


def smoothed(losses: Sequence[float]) -> list[float]:
    """Each with its neighbours averaged: unlike a running mean, this does not lag behind the lr."""
    windows = (losses[max(0, i - REACH) : i + REACH + 1] for i in range(len(losses)))
    return [math.fsum(window) / len(window) for window in windows]
