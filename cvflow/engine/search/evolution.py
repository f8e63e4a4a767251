"""Regularised evolution: tournaments, crossover, mutation, and death by age.

Real, Aggarwal, Huang, Le: Regularized Evolution for Image Classifier Architecture Search, 2018, arXiv:1802.01548. The trick:
the oldest dies, not the worst, so that a setting lives on only through children that are good again. Crossover is added.

1. The first ``population`` trials are drawn at random.
2. From then on the living are the last ``population`` of the trials whose end is known, failed ones among them.
3. A parent is the best of ``tournament`` of the living, drawn with repetition.
4. With probability ``crossover`` a second parent is drawn likewise, and each gene comes from either with equal chance.
5. ``mutations`` genes, drawn at random, change: a choice to another of its values, a number by a normal step of ``step``
   times its range (in logarithms where the range is logarithmic), reflected at the ends.
6. Genes whose condition is no longer fulfilled go, those that now exist are drawn. A child that was tried before is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cvflow.engine.search.sampling import unseen
from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Algorithm, Params, Tried
from cvflow.registry import register
from cvflow.space import Dimension

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Evolution:
    """The algorithm; it holds no state: all follows from (seed, what was tried)."""

    space: Space
    seed: int
    population: int
    tournament: int
    mutations: int
    crossover: float
    step: float
    uses_results = True
    size = None

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        rng = np.random.default_rng([self.seed, len(tried)])
        living = [trial for trial in tried if trial.known][-self.population :]
        generation = len(tried) // self.population
        if generation == 0 or all(trial.score is None for trial in living):
            return unseen(lambda: self.space.draw(rng), tried), {"generation": generation}
        return unseen(lambda: self._child(living, rng), tried), {"generation": generation}

    def _child(self, living: Sequence[Tried], rng: np.random.Generator) -> Params:
        genes = dict(self._parent(living, rng))
        if rng.random() < self.crossover:
            other = self._parent(living, rng)
            genes = {
                key: other[key] if key in other and rng.random() < 0.5 else value
                for key, value in {**other, **genes}.items()
            }
        return self.space.draw(rng, keep=self._mutated(genes, rng))

    def _parent(self, living: Sequence[Tried], rng: np.random.Generator) -> Params:
        """The winner of a tournament; of equals the younger. Who failed wins only against its like."""
        drawn = rng.integers(len(living), size=self.tournament)
        best: int = max(
            drawn.tolist(), key=lambda i: (living[i].score is not None, living[i].score or 0.0, i)
        )
        return living[best].params

    def _mutated(self, genes: Params, rng: np.random.Generator) -> Params:
        """Several genes changed, of those that can."""
        able = [key for key in genes if len(set(map(repr, self.space.dimensions[key].values))) > 1]
        for key in rng.permutation(able)[: self.mutations].tolist():
            genes[key] = self._changed(self.space.dimensions[key], genes[key], rng)
        return genes

    def _changed(self, dimension: Dimension, value: Any, rng: np.random.Generator) -> Any:
        if dimension.kind == "choice":
            others = [other for other in dimension.values if other != value]
            return others[rng.integers(len(others))]
        place = dimension.place(value) + self.step * rng.standard_normal()
        new = dimension.at(1 - abs(1 - place % 2))  # reflected at both ends
        return new if new != value else dimension.at(rng.random())


@register("searcher", "evolution")
def evolution(
    space: Space,
    seed: int,
    *,
    population: Annotated[int, Field(ge=2)] = 12,
    tournament: Positive = 4,
    mutations: Positive = 1,
    crossover: Fraction = 0.5,
    step: Annotated[float, Field(gt=0, le=1)] = 0.2,
) -> Algorithm:
    """A population with tournaments, crossover, mutation and ageing. step: of a number's range, one standard deviation."""
    return Evolution(space, seed, population, tournament, mutations, crossover, step)
