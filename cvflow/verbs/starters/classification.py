"""A new recipe for one class an image."""

from __future__ import annotations

from cvflow.registry import register
from cvflow.verbs.starters.base import Seen, Starter, large


@register("starter", "classification")
def classification(seen: Seen) -> Starter:
    """A small residual network for small images, a pretrained one's shape for large ones."""
    if seen.small:
        backbone = {"name": "cifar_resnet", "depth": 20}
        crop = seen.shift()
        resize = "stretch"
    else:
        backbone = large()
        crop = {"name": "random_resized_crop"}
        resize = "crop"
    return {
        "image": {"resize": resize},
        "model": {"backbone": backbone},
        "train": {"augment": [crop, "horizontal_flip"]},
    }
