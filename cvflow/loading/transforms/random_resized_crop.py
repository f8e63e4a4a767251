"""A random part of the image at a random aspect, resized to the model's size (Szegedy 2014, arXiv 1409.4842)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import Range, moved, ordered
from cvflow.loading.transforms.geometry import resized
from cvflow.loading.transforms.lazy_torchvision import F, transforms
from cvflow.registry import register
from cvflow.types import Sample

Fraction = Annotated[float, Field(gt=0, le=1)]


@register("transform", "random_resized_crop")
class RandomResizedCrop:
    """scale: the part's area as a fraction of the image, least and most. ratio: its width / height, least and most."""

    resizes = True

    def __init__(
        self,
        image: Image,
        *,
        scale: Annotated[tuple[Fraction, Fraction], AfterValidator(ordered)] = (0.08, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
    ) -> None:
        self.size, self.scale, self.ratio = list(image.size), list(scale), list(ratio)

    def __call__(self, sample: Sample) -> Sample:
        first = next(iter(sample.images.values()))
        part = transforms.RandomResizedCrop.get_params(first, self.scale, self.ratio)

        def cut(x: Tensor) -> Tensor:
            return resized(F.crop(x, *part), self.size)

        return moved(sample, cut)
