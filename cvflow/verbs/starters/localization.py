"""A new recipe for one class and one box an image."""

from __future__ import annotations

from cvflow.registry import register
from cvflow.verbs.starters.base import Seen, Starter, large, of_maps


@register("starter", "localization")
def localization(seen: Seen) -> Starter:
    """A localizer at a stride that leaves it a map to point into."""
    backbone = {"name": "unet", "width": 16, "levels": 4} if seen.small else large(output_stride=16)
    return of_maps(seen, {"name": "localizer", "backbone": backbone}, 32, "horizontal_flip")
