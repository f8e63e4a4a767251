"""Turn by a random angle about the centre; corners are filled with black."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cvflow.config import Image
from cvflow.effects import LEAVES_ROWS, states
from cvflow.loading.transforms.apply import image_size, moved, uniform
from cvflow.loading.transforms.geometry import rotate
from cvflow.registry import register
from cvflow.types import Sample


@states(LEAVES_ROWS)
@register("transform", "rotate")
class Rotate:
    """degrees: the greatest angle, either way. Not for stereo, whose rows have to stay."""

    def __init__(self, image: Image, *, degrees: Annotated[float, Field(ge=0, le=180)] = 15.0) -> None:
        self.degrees = degrees

    def __call__(self, sample: Sample) -> Sample:
        angle = uniform(-self.degrees, self.degrees)
        return moved(sample, rotate(image_size(sample), angle))
