"""A random shift: black borders around, then a crop of the same size (the CIFAR augmentation; He
2015, arXiv 1512.03385).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import image_size, moved
from cvflow.loading.transforms.geometry import Move, size_of, window
from cvflow.loading.transforms.lazy_torchvision import tv_tensors
from cvflow.ops.place import shifted as place_shifted
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "random_crop")
class RandomCrop:
    """padding: border in pixels of the model's size, the greatest shift."""

    def __init__(self, image: Image, *, padding: Annotated[int, Field(ge=0)] = 4) -> None:
        self.padding = padding

    def __call__(self, sample: Sample) -> Sample:
        down, right = (self.padding - torch.randint(2 * self.padding + 1, (2,))).tolist()
        place = place_shifted(image_size(sample), down, right)
        return moved(sample, Move(place, lambda x: shifted(x, down, right)))


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Return x moved by so many pixels.

    Images in one copy: bordering them first takes three times as long.
    """
    if isinstance(image, tv_tensors.TVTensor):
        return window(image, -down, -right, size_of(image))
    result = torch.zeros_like(image)
    height, width = image.shape[1:]
    to_y, to_x = max(0, down), max(0, right)
    rows = slice(max(0, -down), max(0, height - to_y))
    columns = slice(max(0, -right), max(0, width - to_x))
    part = image[:, rows, columns]
    result[:, to_y : to_y + part.shape[1], to_x : to_x + part.shape[2]] = part
    return result
