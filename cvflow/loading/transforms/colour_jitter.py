"""Brightness, contrast, saturation and hue changed by random factors, in random order (Howard 2013,
arXiv 1312.5402).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cvflow.config import Image
from cvflow.loading.transforms.apply import NonNegative, drawn_alike
from cvflow.loading.transforms.lazy_torchvision import v2
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "colour_jitter")
class ColourJitter:
    """brightness, contrast, saturation: the factor lies within 1 - x and 1 + x. hue: greatest turn
    of the colour circle, 0.5 = half.

    Grey images have no saturation and no hue to change.
    """

    def __init__(
        self,
        image: Image,
        *,
        brightness: NonNegative = 0.2,
        contrast: NonNegative = 0.2,
        saturation: NonNegative = 0.2,
        hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02,
    ) -> None:
        self.change = v2.ColorJitter(brightness, contrast, saturation, hue)

    def __call__(self, sample: Sample) -> Sample:
        return drawn_alike(sample, self.change)
