"""A box of the image hidden, so that no one part decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from cvflow.config import Image
from cvflow.effects import HIDES_ONE_PLACE, states
from cvflow.loading.transforms.apply import Probability, Range, drawn_alike, ordered
from cvflow.loading.transforms.lazy_torchvision import transforms
from cvflow.registry import register
from cvflow.types import Sample

Fill = Literal["noise", "grey", "black"]
Fraction = Annotated[float, Field(gt=0, le=1)]
Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""


class Erasing:
    """A box filled; views of one scene would show the same at the same place, a match that the
    truth knows nothing of.
    """

    fill: Fill
    p: float
    box: Callable[[Tensor], Box]

    def __call__(self, sample: Sample) -> Sample:
        return drawn_alike(sample, self._erased) if torch.rand(()) < self.p else sample

    def _erased(self, image: Tensor) -> Tensor:
        top, left, height, width = self.box(image)
        result = image.clone()
        part = result[:, top : top + height, left : left + width]
        if self.fill == "noise":
            part.copy_(torch.randint(0, 256, part.shape, dtype=torch.uint8))
        else:
            part.fill_(128 if self.fill == "grey" else 0)
        return result


@states(HIDES_ONE_PLACE)
@register("transform", "random_erasing")
class RandomErasing(Erasing):
    """A box of random area and aspect (Zhong et al. 2017, arXiv 1708.04896).

    p: probability. area: fraction of the image, least and most. ratio: width / height, least and
    most. fill: with what.

    Not for tasks with two images a row.
    """

    def __init__(
        self,
        image: Image,
        *,
        p: Probability = 0.5,
        area: Annotated[tuple[Fraction, Fraction], AfterValidator(ordered)] = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        fill: Fill = "noise",
    ) -> None:
        self.p, self.area, self.ratio, self.fill = p, area, ratio, fill

    def box(self, image: Tensor) -> Box:
        top, left, height, width, _ = transforms.RandomErasing.get_params(image, self.area, self.ratio, [0.0])
        # where no box of the drawn aspects fits, torchvision's is the whole image
        return (top, left, height, width) if (height, width) != tuple(image.shape[1:]) else (0, 0, 0, 0)


@states(HIDES_ONE_PLACE)
@register("transform", "cutout")
class Cutout(Erasing):
    """A square about any pixel, cut off at the border (DeVries and Taylor 2017, arXiv 1708.04552).

    p: probability. side: as a fraction of the shorter side of the image. fill: with what.

    Not for tasks with two images a row.
    """

    def __init__(
        self, image: Image, *, p: Probability = 1.0, side: Fraction = 0.5, fill: Fill = "grey"
    ) -> None:
        self.p, self.side, self.fill = p, side, fill

    def box(self, image: Tensor) -> Box:
        height, width = image.shape[1:]
        side = max(1, round(self.side * min(height, width)))
        top, left = (int(torch.randint(length, ()).item()) - side // 2 for length in (height, width))
        return max(0, top), max(0, left), min(top + side, side, height), min(left + side, side, width)
