"""A new recipe for optical flow."""

from __future__ import annotations

from cvflow.registry import register
from cvflow.verbs.starters.base import Seen, Starter, of_maps


@register("starter", "flow")
def flow(seen: Seen) -> Starter:
    """A correlation network; pairs may be mirrored."""
    return of_maps(seen, {"name": "correlation_flow"}, 8, "horizontal_flip")
