"""The resolved recipe for reading: with where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cvflow.stages.project import locate
from cvflow.stages.recipe_file import load
from cvflow.stages.resolve import Resolved, resolve_layers


def show_recipe(recipe: str, overrides: Mapping[str, Any]) -> Resolved:
    """The checked recipe with defaults filled in, without what cvflow adds."""
    resolved = resolve_layers(load(locate(recipe), overrides))
    return Resolved({k: v for k, v in resolved.recipe.items() if k != "cvflow"}, resolved.layered)


def with_sources(resolved: Resolved) -> list[tuple[str, Any, str]]:
    """(dotted key, value, file:line or 'override' or 'default') for each leaf."""
    return [(key, value, resolved.layered.source(key)) for key, value in leaves(resolved.recipe)]


def leaves(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) for each value that is not a mapping; lists of mappings are entered by index."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from leaves(value, f"{prefix}{key}.")
    elif isinstance(data, list) and any(isinstance(item, dict) for item in data):
        for index, item in enumerate(data):
            yield from leaves(item, f"{prefix}{index}.")
    else:
        yield prefix.rstrip("."), data
