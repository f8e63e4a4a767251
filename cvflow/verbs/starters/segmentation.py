"""A new recipe for a class at each pixel."""

from __future__ import annotations

from cvflow.registry import register
from cvflow.verbs.starters.base import Seen, Starter, large, of_maps


@register("starter", "segmentation")
def segmentation(seen: Seen) -> Starter:
    """A U-Net on a backbone by the images' size."""
    backbone = {"name": "unet", "width": 16, "levels": 4} if seen.small else large()
    return of_maps(seen, {"name": "unet", "backbone": backbone}, 16, "horizontal_flip")
