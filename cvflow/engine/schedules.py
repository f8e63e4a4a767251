"""Learning-rate schedules: builders of ``schedule(at)``, the factor on the optimiser's lr at a position of the phase.

A closed form of the position, so that a resumed training needs no schedule state.
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

    progress: 0..1 over the phase after its warm-up. epoch: whole epochs done in the phase, warm-up included.
    scores: the objective on val after each of them, turned so that higher is better.
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
    return lambda at: 1.0


@register("schedule", "step")
def step(*, milestones: tuple[Fraction, ...] = (0.5, 0.75), gamma: Positive = 0.1) -> Schedule:
    """The lr times ``gamma`` at each milestone, given as fractions of the phase (He et al. 2015: 0.5 and 0.75)."""
    return lambda at: gamma ** sum(at.progress >= m for m in milestones)


@register("schedule", "multi_step")
def multi_step(*, epochs: tuple[Annotated[int, Field(gt=0)], ...], gamma: Positive = 0.1) -> Schedule:
    """The lr times ``gamma`` after each of these numbers of epochs of the phase."""
    return lambda at: gamma ** sum(at.epoch >= e for e in epochs)


@register("schedule", "step_every")
def step_every(*, epochs: Annotated[int, Field(gt=0)] = 30, gamma: Positive = 0.1) -> Schedule:
    """The lr times ``gamma`` every so many epochs; with ``epochs: 1`` an exponential decay."""
    return lambda at: gamma ** (at.epoch // epochs)


@register("schedule", "cosine")
def cosine(*, final: Fraction = 0.0) -> Schedule:
    """Half a cosine from 1 to ``final`` (Loshchilov and Hutter 2016, arXiv 1608.03983, without restarts)."""
    return lambda at: between(1, final, at.progress)


@register("schedule", "one_cycle")
def one_cycle(
    *,
    pct_start: Annotated[float, Field(gt=0, lt=0.5)] = 0.3,
    div: Annotated[float, Field(ge=1)] = 25.0,
    final_div: Annotated[float, Field(ge=1)] = 1e4,
    three_phase: bool = False,
    anneal: Literal["cosine", "linear"] = "cosine",
) -> Schedule:
    """One rise and one fall (Smith 2018, arXiv 1803.09820); the optimiser's lr is the highest. Momentum stays as it is.

    It rises from lr / div over the first ``pct_start`` of the phase, then falls to lr / div / final_div. three_phase: it falls to
    lr / div in as long as it rose, and to the last value over what is left.
    """
    points = [
        (0.0, 1 / div),
        (pct_start, 1.0),
        *([(2 * pct_start, 1 / div)] if three_phase else []),
        (1.0, 1 / div / final_div),
    ]
    curve = between if anneal == "cosine" else lambda a, b, part: a + (b - a) * part

    def factor(at: Position) -> float:
        (x0, y0), (x1, y1) = next(
            (pair for pair in pairwise(points) if at.progress <= pair[1][0]), (points[-2], points[-1])
        )
        return curve(y0, y1, min(1.0, (at.progress - x0) / (x1 - x0)))

    return factor


@register("schedule", "plateau")
def plateau(
    *,
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    patience: Annotated[int, Field(ge=0)] = 5,
    threshold: Annotated[float, Field(ge=0)] = 1e-4,
    least: Fraction = 0.0,
) -> Schedule:
    """The lr times ``factor`` once the objective on val has not been better for more than ``patience`` epochs.

    threshold: by how much it must be better to count. least: the lowest the lr falls, as a fraction of the optimiser's.
    """

    def falls(at: Position) -> float:
        if at.epoch and not at.scores:
            fix = "Type data.split.val=0.1, or another train.schedule.name."
            raise RequestError(
                Fault("train.schedule.name", "plateau without a val split", "scores on val to follow", fix)
            )
        now, best, waited = 1.0, -math.inf, 0
        for score in at.scores:
            better = score > best + threshold
            best, waited = (score, 0) if better else (best, waited + 1)
            if waited > patience:
                now, waited = max(least, now * factor), 0
        return now

    return falls


def between(first: float, last: float, part: float) -> float:
    """On half a cosine from ``first`` to ``last``; part: 0..1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * part))


def with_warmup(schedule: Schedule, warmup: int, total: int) -> Callable[..., float]:
    """factor(step, epoch=0, scores=()): linear from 1/warmup over the first ``warmup`` steps, then the schedule over the rest."""

    def factor(step: int, epoch: int = 0, scores: tuple[float, ...] = ()) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return schedule(Position((step - warmup) / max(1, total - warmup), epoch, scores))

    return factor
