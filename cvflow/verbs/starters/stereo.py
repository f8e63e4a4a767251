"""A new recipe for disparity."""

from __future__ import annotations

from cvflow.registry import register
from cvflow.verbs.starters.base import Seen, Starter, of_maps


@register("starter", "stereo")
def stereo(seen: Seen) -> Starter:
    """Nothing is mirrored, which would take the right view's disparity.

    A quarter of the width is looked for.
    """
    return of_maps(seen, {"name": "cost_volume_stereo", "max_disparity": seen.size[1] // 4}, 8)
