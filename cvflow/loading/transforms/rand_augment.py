"""Some operations out of fourteen, all at one strength, so that there is little to tune (Cubuk et
al. 2019, arXiv 1909.13719).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cvflow.config import Image
from cvflow.effects import IMAGES_ALONE, states
from cvflow.loading.transforms.apply import drawn_alike
from cvflow.loading.transforms.lazy_torchvision import v2
from cvflow.registry import register
from cvflow.types import Sample


@states(IMAGES_ALONE)
@register("transform", "rand_augment")
class RandAugment:
    """operations: how many, one after the other. magnitude: their strength.

    It turns and shifts the images alone: not for tasks with boxes or maps.
    """

    def __init__(
        self,
        image: Image,
        *,
        operations: Annotated[int, Field(ge=0)] = 2,
        magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
    ) -> None:
        self.change = v2.RandAugment(operations, magnitude, interpolation=v2.InterpolationMode.BILINEAR)

    def __call__(self, sample: Sample) -> Sample:
        return drawn_alike(sample, self.change)
