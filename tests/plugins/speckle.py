"""A transform as a plug-in: single pixels turned white, which no annotation minds."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import drawn_alike
from cvflow.registry import register
from cvflow.types import Sample


@register("transform", "speckle")
class Speckle:
    """share: how many of the pixels, 0..1."""

    def __init__(self, image: Image, *, share: Annotated[float, Field(ge=0, le=1)] = 0.02) -> None:
        self.share = share

    def __call__(self, sample: Sample) -> Sample:
        return drawn_alike(sample, self._speckled)

    def _speckled(self, image: Tensor) -> Tensor:
        white = torch.rand(image.shape[1:]) < self.share
        return torch.where(white, 255, image).to(torch.uint8)
