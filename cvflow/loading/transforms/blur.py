"""Gaussian blur of a random width, some of the time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import Probability, Range, on_images, uniform
from cvflow.loading.transforms.lazy_torchvision import F
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "blur")
class Blur:
    """sigma: least and most, in pixels of the model's size. p: probability."""

    def __init__(self, image: Image, *, sigma: Range = (0.1, 2.0), p: Probability = 0.5) -> None:
        self.sigma, self.p = sigma, p

    def __call__(self, sample: Sample) -> Sample:
        if torch.rand(()) >= self.p:
            return sample
        sigma = uniform(*self.sigma)

        def blurred(image: Tensor) -> Tensor:
            reach = min(math.ceil(3 * sigma), min(image.shape[1:]) - 1)
            result: Tensor = F.gaussian_blur(image, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])
            return result

        return on_images(sample, blurred)
