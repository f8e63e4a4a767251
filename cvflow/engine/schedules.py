"""Learning-rate schedules: builders of ``factor(progress)``, progress 0..1 over the phase after warm-up.

A closed form of the step, so that a resumed training needs no schedule state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from cvflow.registry import register

Schedule = Callable[[float], float]
Fraction = Annotated[float, Field(ge=0, le=1)]


@register("schedule", "constant")
def constant() -> Schedule:
    """The optimiser's lr throughout."""
    return lambda progress: 1.0


@register("schedule", "step")
def step(*, milestones: tuple[Fraction, ...] = (0.5, 0.75), gamma: Annotated[float, Field(gt=0)] = 0.1) -> Schedule:
    """The lr times ``gamma`` at each milestone, given as fractions of the phase (He et al. 2015: 0.5 and 0.75)."""
    return lambda progress: gamma ** sum(progress >= m for m in milestones)


@register("schedule", "cosine")
def cosine(*, final: Fraction = 0.0) -> Schedule:
    """Half a cosine from 1 to ``final`` (Loshchilov and Hutter 2016, arXiv 1608.03983, without restarts)."""
    return lambda progress: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def with_warmup(schedule: Schedule, warmup: int, total: int) -> Callable[[int], float]:
    """factor(step): linear from 1/warmup over the first ``warmup`` steps, then the schedule over the rest."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return schedule((step - warmup) / max(1, total - warmup))

    return factor
