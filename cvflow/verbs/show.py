"""The resolved recipe for reading: with where each value came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.project.project import locate
from cvflow.project.resolved import Resolved, resolve_layers
from cvflow.recipe.layers import leaves, load


def show_recipe(recipe: str, overrides: Mapping[str, Any]) -> Resolved:
    """The checked recipe with defaults filled in, without what cvflow adds."""
    resolved = resolve_layers(load(locate(recipe), overrides))
    return Resolved({k: v for k, v in resolved.recipe.items() if k != "cvflow"}, resolved.layered)


def with_sources(resolved: Resolved) -> list[tuple[str, Any, str]]:
    """(dotted key, value, file:line or 'override' or 'default') for each leaf."""
    return [(key, value, resolved.layered.source(key)) for key, value in leaves(resolved.recipe)]
