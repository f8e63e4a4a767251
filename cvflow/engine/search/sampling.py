"""``random`` and ``grid``: settings that depend on no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Algorithm, Params, Tried
from cvflow.errors import Fault, RequestError
from cvflow.registry import register

MOST = 10_000
"""A grid with more points is refused."""


class Random:
    """Draws each trial independently; settings that were tried before are drawn again, a few times."""

    uses_results = False
    size = None

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        rng = np.random.default_rng([self._seed, len(tried)])
        params = unseen(lambda: self._space.draw(rng), tried)
        return params, {}


class Grid:
    """Suggests every combination, in the order of the space's keys; the last key changes first."""

    uses_results = False

    def __init__(self, space: Space, points: int) -> None:
        self._points = space.grid(points)
        self.size = len(self._points)

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        return self._points[len(tried)], {}


def unseen(draw: Callable[[], Params], tried: Sequence[Tried], tries: int = 20) -> Params:
    """Draw until the params were not tried before, at most ``tries`` times more."""
    earlier = [trial.params for trial in tried]
    params = draw()
    for _ in range(tries):
        if params not in earlier:
            break
        params = draw()
    return params


@register("searcher", "random")
def random(space: Space, seed: int) -> Algorithm:
    """Settings drawn independently (Bergstra and Bengio, 2012, JMLR 13)."""
    return Random(space, seed)


@register("searcher", "grid")
def grid(space: Space, seed: int, *, points: Annotated[int, Field(ge=2)] = 3) -> Algorithm:
    """Every combination. points: number of values of each range, both ends included."""
    size = space.grid_size(points)
    if size > MOST:
        fix = "Leave values out, type search.algorithm.points=2 for ranges, or search.algorithm=random."
        raise RequestError(Fault("search.space", f"a grid of {size} points", f"at most {MOST}", fix))
    return Grid(space, points)
