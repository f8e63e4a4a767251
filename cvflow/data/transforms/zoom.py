"""Larger or smaller about the centre, at the same size: cropped, or bordered with black."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cvflow.config import Image
from cvflow.data.transforms.apply import Range, on_images, uniform
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "zoom")
class Zoom:
    """scale: least and most; above 1 things become larger."""

    def __init__(self, image: Image, *, scale: Range = (0.8, 1.2)) -> None:
        self.scale = scale

    def __call__(self, sample: Sample) -> Sample:
        scale = uniform(*self.scale)

        def zoomed(image: Tensor) -> Tensor:
            still = {"angle": 0.0, "translate": [0.0, 0.0], "shear": [0.0, 0.0]}
            result: Tensor = F.affine(image, scale=scale, interpolation=InterpolationMode.BILINEAR, **still)
            return result

        return on_images(sample, zoomed)
