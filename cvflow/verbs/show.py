"""The resolved recipe for reading, with where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.project.project import locate
from cvflow.project.resolved import Resolved, resolve_layers
from cvflow.recipe.layers import leaves, load


def show_recipe(name: str, overrides: Mapping[str, Any]) -> Resolved:
    """Return the checked recipe with defaults filled in, without what cvflow adds."""
    resolved = resolve_layers(load(locate(name), overrides))
    recipe = dict(resolved.recipe)
    recipe.pop("cvflow", None)
    return Resolved(recipe, resolved.layered)


def with_sources(resolved: Resolved) -> list[tuple[str, Any, str]]:
    """Return (dotted key, value, source) of each value.

    source: file:line, 'override' or 'default'.
    """
    rows = []
    for key, value in leaves(resolved.recipe):
        rows.append((key, value, resolved.layered.source(key)))
    return rows
