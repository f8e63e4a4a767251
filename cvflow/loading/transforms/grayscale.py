"""Without its colour, some of the time, so that shape counts as well."""

from __future__ import annotations

import torch
from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import Probability, on_images
from cvflow.loading.transforms.lazy_torchvision import F
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "grayscale")
class Grayscale:
    """p: probability."""

    def __init__(self, image: Image, *, p: Probability = 0.1) -> None:
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        def grey(image: Tensor) -> Tensor:
            result: Tensor = F.rgb_to_grayscale(image, num_output_channels=image.shape[0])
            return result

        return on_images(sample, grey) if torch.rand(()) < self.p else sample
