"""A random shift: black borders around, then a crop of the same size (the CIFAR augmentation; He 2015, arXiv 1512.03385)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from cvflow.config import Image
from cvflow.data.transforms.apply import on_images
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "random_crop")
class RandomCrop:
    """padding: border in pixels of the model's size, the greatest shift."""

    def __init__(self, image: Image, *, padding: Annotated[int, Field(ge=0)] = 4) -> None:
        self.padding = padding

    def __call__(self, sample: Sample) -> Sample:
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()

        def shifted(image: Tensor) -> Tensor:
            result: Tensor = F.crop(F.pad(image, [self.padding]), top, left, *image.shape[1:])
            return result

        return on_images(sample, shifted)
