"""What starters read and share: what was seen of the data, and sections that several tasks begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

LARGEST = 224
SIDES = (32, 64, 96, 128, 160, 192, LARGEST)
STEP = 32
"""What the sides of a model's size are a multiple of: it divides by the strides of the usual networks."""
SMALL = 64
"""The greatest side of images that a network for small ones is for."""

Starter = Mapping[str, Any]
"""Sections of a recipe, by name: what differs from those that every new recipe has."""


class Seen(NamedTuple):
    """What a look at the data found. sizes: (height, width) of some images, one at least. classes:
    how many, or how many identities.
    """

    sizes: Sequence[tuple[int, int]]
    classes: int

    @property
    def side(self) -> int:
        """Of a square: the first of SIDES at or above the median short side."""
        return next((side for side in SIDES if side >= median(min(size) for size in self.sizes)), LARGEST)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in the images' proportions, the shorter one as ``side``."""
        ratio = median(width / height for height, width in self.sizes)
        longer = STEP * max(self.side // STEP, round(self.side * max(ratio, 1 / ratio) / STEP))
        return (self.side, longer) if ratio >= 1 else (longer, self.side)

    @property
    def small(self) -> bool:
        return self.side <= SMALL

    def shift(self) -> dict[str, Any]:
        """A random crop by an eighth of the side."""
        return {"name": "random_crop", "padding": self.side // 8}


def large(**options: Any) -> dict[str, Any]:
    """The backbone for images that are not small."""
    return {"name": "torchvision", "model": "mobilenet_v2", **options}


def of_maps(seen: Seen, model: Mapping[str, Any], batch_size: int, *augment: Any) -> dict[str, Any]:
    """For answers that have a place in the image: its whole, in its proportions, moved but not cut
    to pieces.
    """
    return {
        "image": {"size": list(seen.size), "resize": "stretch"},
        "model": dict(model),
        "train": {
            "batch_size": batch_size,
            "optimizer": {"name": "adamw", "lr": 0.002, "weight_decay": 0.0001},
            "augment": [*augment, "zoom"],
        },
        "evaluate": {"batch_size": 16},
        "predict": {"batch_size": 16, "overlays": 8},
    }
