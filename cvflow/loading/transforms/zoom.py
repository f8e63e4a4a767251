"""Larger or smaller about the centre, at the same size: cropped, or bordered with black."""

from __future__ import annotations

from cvflow.config import Image
from cvflow.loading.transforms.apply import Range, image_size, moved, uniform
from cvflow.loading.transforms.geometry import zoom
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "zoom")
class Zoom:
    """scale: least and most; above 1 things become larger."""

    def __init__(self, image: Image, *, scale: Range = (0.8, 1.2)) -> None:
        self.scale = scale

    def __call__(self, sample: Sample) -> Sample:
        return moved(sample, zoom(image_size(sample), uniform(*self.scale)))
