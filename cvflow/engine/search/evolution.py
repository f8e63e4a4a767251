"""Regularised evolution: tournaments, crossover, mutation, and death by age.

Real, Aggarwal, Huang, Le: Regularized Evolution for Image Classifier Architecture Search, 2018,
arXiv:1802.01548. The trick: the oldest dies, not the worst, so that a setting lives on only through
children that are good again. Crossover is added.

1. The first ``population`` trials are drawn at random.
2. From then on the living are the last ``population`` trials whose result is visible, failed ones
   included.
3. A parent is the best of ``tournament`` of the living, drawn with repetition.
4. With probability ``crossover`` a second parent is drawn in the same way, and each gene comes from
   either with equal chance.
5. ``mutations`` genes, drawn at random, change: a choice to another of its values, a number by a
   normal step of ``step`` times its range (in logarithms if the range is logarithmic), reflected at
   the ends.
6. Genes whose condition is no longer fulfilled are dropped, genes that now exist are drawn. A child
   that was tried before is made again.
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
    """The algorithm, without state: everything follows from the seed and what was tried."""

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
        visible = [trial for trial in tried if trial.visible]
        living = visible[-self.population :]
        generation = len(tried) // self.population
        all_failed = all(trial.score is None for trial in living)

        def draw() -> Params:
            if generation == 0 or all_failed:
                return self.space.draw(rng)
            return self._child(living, rng)

        return unseen(draw, tried), {"generation": generation}

    def _child(self, living: Sequence[Tried], rng: np.random.Generator) -> Params:
        """Make a child of one parent or two, and change some of its genes."""
        genes = dict(self._parent(living, rng))
        if rng.random() < self.crossover:
            genes = _crossed(genes, self._parent(living, rng), rng)
        return self.space.draw(rng, keep=self._mutated(genes, rng))

    def _parent(self, living: Sequence[Tried], rng: np.random.Generator) -> Params:
        """Return the winner of a tournament; of equals the youngest.

        A failed trial wins only against failed ones.
        """

        def rank(index: int) -> tuple[bool, float, int]:
            score = living[index].score
            return score is not None, score or 0.0, index

        drawn: list[int] = rng.integers(len(living), size=self.tournament).tolist()
        return living[max(drawn, key=rank)].params

    def _mutated(self, genes: Params, rng: np.random.Generator) -> Params:
        """Change several of the genes that can change."""
        changeable = []
        for key in genes:
            if _has_alternatives(self.space.dimensions[key]):
                changeable.append(key)
        for key in rng.permutation(changeable)[: self.mutations].tolist():
            genes[key] = self._changed(self.space.dimensions[key], genes[key], rng)
        return genes

    def _changed(self, dimension: Dimension, value: Any, rng: np.random.Generator) -> Any:
        """Return another value of the dimension: of a range one near, of a choice any."""
        if dimension.kind == "choice":
            alternatives = [v for v in dimension.values if v != value]
            return alternatives[rng.integers(len(alternatives))]
        place = dimension.place(value) + self.step * rng.standard_normal()
        # at both ends of the range
        reflected = 1 - abs(1 - place % 2)
        neighbour = dimension.at(reflected)
        if neighbour != value:
            return neighbour
        return dimension.at(rng.random())


def _crossed(genes: Params, second: Params, rng: np.random.Generator) -> Params:
    """Mix the genes of two parents; a gene that only one has is kept."""
    child: Params = {}
    for key in {**second, **genes}:
        # no number is drawn for a gene that the second parent lacks
        from_second = key in second and rng.random() < 0.5
        child[key] = second[key] if from_second or key not in genes else genes[key]
    return child


def _has_alternatives(dimension: Dimension) -> bool:
    # compared as text: a choice may be a list, which cannot be put into a set
    distinct = set(map(repr, dimension.values))
    return len(distinct) > 1


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
    """A population with tournaments, crossover, mutation and ageing.

    step: standard deviation of a number's change, as a fraction of its range.
    """
    return Evolution(space, seed, population, tournament, mutations, crossover, step)
