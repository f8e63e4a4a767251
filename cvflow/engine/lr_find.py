"""The learning-rate range test: raise the lr at each step until the loss diverges.

Smith 2015, arXiv 1506.01186.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cvflow.config import Phase
from cvflow.engine.freeze import check_freezes, set_mode
from cvflow.engine.job import Job
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.steps import GradientSteps
from cvflow.errors import CvflowError, Fault, InterruptedRunError, RequestError
from cvflow.types import Batch

DIVERGED = 4.0
"""The test ends if the running loss is more than this multiple of its least value."""
RUNNING = 0.9
"""Weight of the past in the running loss, which says when to end."""
CLEAR = 3.0
"""The smoothed loss must fall by this multiple of the losses' deviation from it: less is noise."""
REACH = 3
"""Steps on either side that the smoothed loss averages."""


@dataclass(frozen=True)
class RangeTest:
    """What a range test measured.

    lrs, losses, smoothed: one entry a step. steepest: the lr at which the smoothed loss falls fastest.
    tenth: a tenth of the lr at which it is least. diverged: whether the loss ended the test.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    tenth: float
    diverged: bool


def lr_find(job: Job, low: float, high: float, steps: int) -> RangeTest:
    """Train from ``low`` to ``high`` in ``steps`` steps, equally far apart on a log scale.

    The job's weights are of no use afterwards. Of a plan with several phases the first with gradient
    steps is tested. Raises CvflowError if the loss never falls by more than noise, RequestError if the
    phase's optimiser needs a closure.
    """
    phase = first_stepping(job.recipe.train.plan())
    check_freezes(job.model, [phase])
    set_mode(job.model, phase)
    training = GradientSteps(job, phase, Cursor())
    check_steps_by_lr(training)
    lrs: list[float] = []
    losses: list[float] = []
    running, least = 0.0, math.inf
    for lr, loss in raised_steps(training, log_spaced(low, high, steps)):
        if not math.isfinite(loss):
            return suggested(lrs, losses, diverged=True)
        lrs.append(lr)
        losses.append(loss)
        running = RUNNING * running + (1 - RUNNING) * loss
        # the running loss began at 0, which the divisor makes up for
        mean = running / (1 - RUNNING ** len(losses))
        least = min(least, mean)
        if mean > DIVERGED * least:
            return suggested(lrs, losses, diverged=True)
    return suggested(lrs, losses, diverged=False)


def first_stepping(plan: Sequence[Phase]) -> Phase:
    """Return the first phase with gradient steps."""
    for phase in plan:
        if phase.kind.name == "sgd":
            return phase
    expected = "a phase of kind sgd, whose lr can be found"
    raise RequestError(Fault("train.kind", "no phase that steps", expected))


def check_steps_by_lr(training: GradientSteps) -> None:
    """Raise RequestError if the optimiser searches for the length of its steps."""
    if training.update.needs_closure:
        got = f"{training.phase.optimizer.name}, which searches along a line"
        expected = "an optimiser whose steps are as long as its lr"
        raise RequestError(Fault("train.optimizer", got, expected, "Type train.optimizer=sgd."))


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """Return numbers from ``low`` to ``high``, equally far apart on a log scale."""
    ratio = high / low
    last = count - 1
    return [low * ratio ** (i / last) for i in range(count)]


def raised_steps(training: GradientSteps, lrs: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Take a step at each lr; yield (lr, loss before the step), NaN if the step was not taken."""
    # fewer lrs than batches: the epochs go on without end
    for lr, batch in zip(lrs, endless_batches(training), strict=False):
        if training.session.should_stop():
            raise InterruptedRunError("interrupted")
        training.set_lr([lr] * len(training.base_lrs))
        means, taken = training.take_step(batch)
        yield lr, float(means.sum()) if taken else math.nan


def endless_batches(training: GradientSteps) -> Iterator[Batch]:
    """Yield the batches of one epoch after the other."""
    while True:
        yield from training.batches()
        training.cursor.epochs_done += 1


def suggested(lrs: Sequence[float], losses: Sequence[float], diverged: bool) -> RangeTest:
    """Smooth the curve and read the suggestions from it."""
    smooth = smoothed(losses)
    least = smooth.index(min(smooth)) if smooth else 0
    # the lrs are equally far apart on a log scale, so differences compare like slopes
    slopes = [smooth[i + 1] - smooth[i - 1] for i in range(1, least)]
    if not slopes or min(slopes) >= 0 or not falls_clearly(losses, smooth, least):
        raise CvflowError(
            f"The loss did not clearly fall over {len(lrs)} steps; "
            "type a smaller --min, or a greater --max or --steps."
        )
    steepest = 1 + slopes.index(min(slopes))
    return RangeTest(
        lrs=tuple(lrs),
        losses=tuple(losses),
        smoothed=tuple(smooth),
        steepest=lrs[steepest],
        tenth=lrs[least] / 10,
        diverged=diverged,
    )


def falls_clearly(losses: Sequence[float], smooth: Sequence[float], least: int) -> bool:
    """Whether the smoothed loss falls by more than noise until its least value, at index ``least``."""
    noise = deviation(losses[: least + 1], smooth)
    return smooth[0] - smooth[least] >= CLEAR * noise


def deviation(losses: Sequence[float], smooth: Sequence[float]) -> float:
    """Return the root mean square of the losses' distances from the smoothed curve."""
    squares = []
    # the curve may go on where the losses end
    for loss, mean in zip(losses, smooth, strict=False):
        squares.append((loss - mean) ** 2)
    return math.sqrt(math.fsum(squares) / len(losses))


def smoothed(losses: Sequence[float]) -> list[float]:
    """Average each loss with its neighbours: unlike a running mean this does not lag behind the lr."""
    result = []
    for i in range(len(losses)):
        window = losses[max(0, i - REACH) : i + REACH + 1]
        result.append(math.fsum(window) / len(window))
    return result
