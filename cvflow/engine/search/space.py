"""A space of dimensions, some of which exist only if others have certain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from cvflow.engine.search.trials import Params
from cvflow.errors import Fault, RequestError
from cvflow.space import Dimension


class Space:
    """The space that a search draws from.

    dimensions: by dotted key. base: the values of other keys that conditions name.
    """

    def __init__(self, dimensions: Mapping[str, Dimension], base: Mapping[str, Any]) -> None:
        # in an order in which each value can be drawn once its condition is decided
        self.dimensions = {key: dimensions[key] for key in _ordered(dimensions)}
        self._base = base

    def __iter__(self) -> Iterator[tuple[str, Dimension]]:
        """Yield (key, dimension), each after the keys that its condition names."""
        return iter(self.dimensions.items())

    def active(self, dimension: Dimension, params: Mapping[str, Any]) -> bool:
        """Whether the dimension exists beside these params.

        A dimension that does not exist itself fulfils no condition.
        """
        for key, condition in dimension.when.items():
            value = params.get(key) if key in self.dimensions else self._base.get(key)
            if not _fits(value, condition):
                return False
        return True

    def draw(self, rng: np.random.Generator, keep: Mapping[str, Any] | None = None) -> Params:
        """Draw params at random; values of ``keep`` stay as they are if their dimension is active."""
        keep = keep or {}
        params: Params = {}
        for key, dimension in self:
            # drawn for every dimension, so that the other numbers do not depend on what is kept
            unit = rng.random()
            if not self.active(dimension, params):
                continue
            params[key] = keep[key] if key in keep else dimension.at(unit)
        return params

    def grid(self, points: int) -> list[Params]:
        """Return every combination once. points: number of values of a range."""
        values = [dimension.grid(points) for _, dimension in self]
        distinct: dict[str, Params] = {}
        for combination in product(*values):
            params: Params = {}
            for (key, dimension), value in zip(self, combination, strict=True):
                if self.active(dimension, params):
                    params[key] = value
            # combinations that differ only in inactive dimensions are one
            distinct.setdefault(repr(params), params)
        return list(distinct.values())

    def grid_size(self, points: int) -> int:
        """Return how many combinations there are at most, without making them."""
        size = 1
        for _, dimension in self:
            size *= len(dimension.grid(points))
        return size


def _fits(value: Any, condition: Any) -> bool:
    """Whether the value is the condition's, or one of its list."""
    if isinstance(condition, (list, tuple)):
        return value in condition
    return bool(value == condition)


def _ordered(dimensions: Mapping[str, Dimension]) -> Sequence[str]:
    """Return the keys, each after those that its condition names.

    Raises RequestError if the conditions form a circle.
    """
    done: list[str] = []
    while len(done) < len(dimensions):
        remaining = [key for key in dimensions if key not in done]
        ready = []
        for key in remaining:
            if set(remaining).isdisjoint(dimensions[key].when):
                ready.append(key)
        if not ready:
            raise RequestError(*map(_circle_fault, remaining))
        done += ready
    return done


def _circle_fault(key: str) -> Fault:
    return Fault(f"search.space.{key}.when", "a circle of conditions", "conditions that end")
