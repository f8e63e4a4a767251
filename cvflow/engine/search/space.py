"""A space of dimensions, some of which exist only where others have certain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from cvflow.engine.search.trials import Params
from cvflow.errors import Fault, RequestError
from cvflow.space import Dimension


class Space:
    """dimensions: by dotted key. base: the values of other keys that conditions name."""

    def __init__(self, dimensions: Mapping[str, Dimension], base: Mapping[str, Any]) -> None:
        self.dimensions = {key: dimensions[key] for key in _ordered(dimensions)}
        self._base = base

    def __iter__(self) -> Iterator[tuple[str, Dimension]]:
        """(key, dimension), a condition's key before what depends on it."""
        return iter(self.dimensions.items())

    def active(self, dimension: Dimension, params: Mapping[str, Any]) -> bool:
        """Whether the dimension exists beside these params. One that is inactive fulfils no condition."""
        return all(_fits(self._value(key, params), wanted) for key, wanted in dimension.when.items())

    def _value(self, key: str, params: Mapping[str, Any]) -> Any:
        return params.get(key) if key in self.dimensions else self._base.get(key)

    def draw(self, rng: np.random.Generator, keep: Mapping[str, Any] | None = None) -> Params:
        """Params at random; values of ``keep`` stay where their dimension is active."""
        params: Params = {}
        for key, dimension in self:
            unit = rng.random()  # drawn for each dimension: the same numbers whatever is kept
            if self.active(dimension, params):
                params[key] = keep[key] if keep is not None and key in keep else dimension.at(unit)
        return params

    def grid(self, points: int) -> list[Params]:
        """Every combination, each once; of a range so many values."""
        values = [dimension.grid(points) for _, dimension in self]
        found: dict[str, Params] = {}
        for combination in product(*values):
            params: Params = {}
            for (key, dimension), value in zip(self, combination, strict=True):
                if self.active(dimension, params):
                    params[key] = value
            found.setdefault(repr(params), params)
        return list(found.values())

    def grid_size(self, points: int) -> int:
        """At most so many combinations, without making them."""
        return int(np.prod([float(len(dimension.grid(points))) for _, dimension in self]))


def _fits(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, (list, tuple)) else bool(value == wanted)


def _ordered(dimensions: Mapping[str, Dimension]) -> Sequence[str]:
    """Keys, each after those that its condition names. Raises RequestError where conditions go round in a circle."""
    done: list[str] = []
    while len(done) < len(dimensions):
        ready = [
            k
            for k, d in dimensions.items()
            if k not in done and all(c in done or c not in dimensions for c in d.when)
        ]
        if not ready:
            circle = [key for key in dimensions if key not in done]
            raise RequestError(
                *(
                    Fault(f"search.space.{key}.when", "a circle of conditions", "conditions that end")
                    for key in circle
                )
            )
        done += ready
    return done
