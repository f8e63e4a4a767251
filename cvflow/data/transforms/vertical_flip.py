"""Mirror top and bottom, some of the time."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torchvision.transforms.v2 import functional as F

from cvflow.config import Image
from cvflow.data.transforms.apply import on_images
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "vertical_flip")
class VerticalFlip:
    """p: probability."""

    def __init__(self, image: Image, *, p: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        return on_images(sample, F.vertical_flip) if torch.rand(()) < self.p else sample
