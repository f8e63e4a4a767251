"""Learning-rate schedules: builders of ``schedule(position)``, the factor on the optimiser's lr.

Each is a closed form of the position in the phase, so a resumed training needs no schedule state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from cvflow.errors import Fault, RequestError
from cvflow.registry import register


class Position(NamedTuple):
    """Where a phase stands.

    progress: 0..1 over the phase after its warm-up. epoch: epochs finished in the phase, warm-up
    included. scores: the objective on val after each of them, turned so that higher is better.
    """

    progress: float
    epoch: int = 0
    scores: tuple[float, ...] = ()


Schedule = Callable[[Position], float]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


@register("schedule", "constant")
def constant() -> Schedule:
    """The optimiser's lr throughout."""
    return lambda position: 1.0


@register("schedule", "step")
def step(*, milestones: tuple[Fraction, ...] = (0.5, 0.75), gamma: Positive = 0.1) -> Schedule:
    """The lr times ``gamma`` at each milestone, a fraction of the phase (He et al. 2015: 0.5, 0.75)."""

    def factor(position: Position) -> float:
        passed = sum(position.progress >= milestone for milestone in milestones)
        return gamma**passed

    return factor


@register("schedule", "multi_step")
def multi_step(*, epochs: tuple[Annotated[int, Field(gt=0)], ...], gamma: Positive = 0.1) -> Schedule:
    """The lr times ``gamma`` after each of these numbers of epochs of the phase."""

    def factor(position: Position) -> float:
        passed = sum(position.epoch >= epoch for epoch in epochs)
        return gamma**passed

    return factor


@register("schedule", "step_every")
def step_every(*, epochs: Annotated[int, Field(gt=0)] = 30, gamma: Positive = 0.1) -> Schedule:
    """The lr times ``gamma`` every so many epochs; with ``epochs: 1`` an exponential decay."""
    return lambda position: gamma ** (position.epoch // epochs)


@register("schedule", "cosine")
def cosine(*, final: Fraction = 0.0) -> Schedule:
    """Half a cosine from 1 to ``final`` (Loshchilov and Hutter 2016, arXiv 1608.03983, without restarts)."""
    return lambda position: half_cosine(1, final, position.progress)


@register("schedule", "one_cycle")
def one_cycle(
    *,
    pct_start: Annotated[float, Field(gt=0, lt=0.5)] = 0.3,
    div: Annotated[float, Field(ge=1)] = 25.0,
    final_div: Annotated[float, Field(ge=1)] = 1e4,
    three_phase: bool = False,
    anneal: Literal["cosine", "linear"] = "cosine",
) -> Schedule:
    """One rise and one fall (Smith 2018, arXiv 1803.09820); the optimiser's lr is the highest.

    The lr rises from lr / div over the first ``pct_start`` of the phase, then falls to
    lr / div / final_div. three_phase: it falls to lr / div in as long as it rose, and to the last
    value over the rest. Momentum stays as it is.
    """
    points = [(0.0, 1 / div), (pct_start, 1.0)]
    if three_phase:
        points.append((2 * pct_start, 1 / div))
    points.append((1.0, 1 / div / final_div))
    curve = half_cosine if anneal == "cosine" else straight_line

    def factor(position: Position) -> float:
        # beyond the last point, by rounding, the last piece goes on
        (x0, y0), (x1, y1) = points[-2:]
        for left, right in pairwise(points):
            if position.progress <= right[0]:
                (x0, y0), (x1, y1) = left, right
                break
        part = (position.progress - x0) / (x1 - x0)
        return curve(y0, y1, min(1.0, part))

    return factor


@register("schedule", "plateau")
def plateau(
    *,
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    patience: Annotated[int, Field(ge=0)] = 5,
    threshold: Annotated[float, Field(ge=0)] = 1e-4,
    least: Fraction = 0.0,
) -> Schedule:
    """The lr times ``factor`` once the objective on val stagnates for more than ``patience`` epochs.

    threshold: by how much a score must beat the best to count as better. least: the lowest value the
    lr falls to, as a fraction of the optimiser's.
    """

    def current_factor(position: Position) -> float:
        if position.epoch and not position.scores:
            fix = "Type data.split.val=0.1, or another train.schedule.name."
            expected = "scores on val to follow"
            raise RequestError(Fault("train.schedule.name", "plateau without a val split", expected, fix))
        current, best, waited = 1.0, -math.inf, 0
        for score in position.scores:
            if score > best + threshold:
                best, waited = score, 0
            else:
                waited += 1
            if waited > patience:
                current = max(least, current * factor)
                waited = 0
        return current

    return current_factor


def half_cosine(first: float, last: float, part: float) -> float:
    """Return the value on half a cosine from ``first`` to ``last``; part: 0..1."""
    cosine = math.cos(math.pi * part)
    return last + (first - last) * 0.5 * (1 + cosine)


def straight_line(first: float, last: float, part: float) -> float:
    """Return the value on a straight line from ``first`` to ``last``; part: 0..1."""
    return first + (last - first) * part


def with_warmup(schedule: Schedule, warmup: int, total: int) -> Callable[..., float]:
    """Return factor(step, epoch=0, scores=()), the schedule after a linear warm-up.

    Over the first ``warmup`` of ``total`` steps the factor rises from 1/warmup to 1.
    """

    def factor(step: int, epoch: int = 0, scores: tuple[float, ...] = ()) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total - warmup)
        return schedule(Position(progress, epoch, scores))

    return factor
