"""The same change to every image of a sample; annotations that move with the pixels (boxes, masks) will join here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from cvflow.types import Sample


def on_images(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """change: uint8 CHW -> uint8 CHW."""
    return replace(sample, images={name: change(image) for name, image in sample.images.items()})
