"""Mirrored images, some of the time."""

from __future__ import annotations

import torch

from cvflow.config import Image
from cvflow.effects import MIRRORS, states
from cvflow.loading.transforms.apply import Probability, image_size, mirrored, moved
from cvflow.loading.transforms.geometry import flip, turn_over
from cvflow.registry import register
from cvflow.types import Sample


@states(MIRRORS)
@register("transform", "horizontal_flip")
class HorizontalFlip:
    """Left and right exchanged. p: probability."""

    def __init__(self, image: Image, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        return mirrored(sample, flip(image_size(sample))) if torch.rand(()) < self.p else sample


@register("transform", "vertical_flip")
class VerticalFlip:
    """Top and bottom exchanged. p: probability."""

    def __init__(self, image: Image, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        return moved(sample, turn_over(image_size(sample))) if torch.rand(()) < self.p else sample
