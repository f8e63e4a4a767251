"""The space of a search, and the algorithm that draws from it, as the resolved recipe writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.config import Search
from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Algorithm
from cvflow.project.graph import lookup
from cvflow.registry import build
from cvflow.space import Dimension


def space_of(base: Mapping[str, Any], search: Search) -> Space:
    """Return the space, with the recipe's values for other keys that its conditions read."""
    outside: dict[str, Any] = {}
    for dimension in search.space.values():
        for key in dimension.when:
            if key not in search.space:
                outside[key] = value_at(base, key)
    return Space(search.space, outside)


def algorithm_of(base: Mapping[str, Any], search: Search) -> Algorithm:
    """Build the search's algorithm. Raises RequestError if the algorithm does not take the space."""
    space = space_of(base, search)
    algorithm: Algorithm = build("searcher", search.algorithm, space, search.seed)
    return algorithm


def value_at(base: Mapping[str, Any], key: str) -> Any:
    """Return the recipe's value at a dotted key, or None if it has none; of a component its name."""
    try:
        value = lookup(base, key)
    except (KeyError, TypeError, IndexError, ValueError):
        return None
    if isinstance(value, dict) and "name" in value:
        return value["name"]
    return value


def fulfilled(dimension: Dimension) -> dict[str, Any]:
    """Return values of other keys under which the dimension's condition holds."""
    params: dict[str, Any] = {}
    for key, condition in dimension.when.items():
        # any value of a list fulfils it
        if isinstance(condition, list) and condition:
            params[key] = condition[0]
        else:
            params[key] = condition
    return params


def space_key(key: str) -> str:
    """Return where the recipe has the dimension of a key."""
    return f"search.space.{key}"
