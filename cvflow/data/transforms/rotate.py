"""Turn by a random angle about the centre; corners are filled with black."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cvflow.config import Image
from cvflow.data.transforms.apply import on_images, uniform
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "rotate")
class Rotate:
    """degrees: the greatest angle, either way."""

    def __init__(self, image: Image, *, degrees: Annotated[float, Field(ge=0, le=180)] = 15.0) -> None:
        self.degrees = degrees

    def __call__(self, sample: Sample) -> Sample:
        angle = uniform(-self.degrees, self.degrees)

        def turned(image: Tensor) -> Tensor:
            result: Tensor = F.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)
            return result

        return on_images(sample, turned)
