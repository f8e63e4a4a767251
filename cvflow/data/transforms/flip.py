"""Mirrored images, some of the time."""

from __future__ import annotations

import torch

from cvflow.config import Image
from cvflow.data.transforms.apply import Probability, on_images
from cvflow.registry import register
from cvflow.types import Sample


class Flip:
    axis: int

    def __init__(self, image: Image, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        return on_images(sample, lambda image: image.flip(self.axis)) if torch.rand(()) < self.p else sample


@register("transform", "horizontal_flip")
class HorizontalFlip(Flip):
    """Left and right exchanged. p: probability."""

    axis = -1


@register("transform", "vertical_flip")
class VerticalFlip(Flip):
    """Top and bottom exchanged. p: probability."""

    axis = -2
