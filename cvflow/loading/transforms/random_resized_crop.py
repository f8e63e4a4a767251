"""A random part of the image at a random aspect, resized to the model's size (Szegedy 2014, arXiv
1409.4842).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from cvflow.config import Image
from cvflow.loading.transforms.apply import Range, image_size, moved, ordered
from cvflow.loading.transforms.geometry import cut, resize
from cvflow.loading.transforms.lazy_torchvision import transforms
from cvflow.registry import register
from cvflow.types import Sample

Fraction = Annotated[float, Field(gt=0, le=1)]


@register("transform", "random_resized_crop")
class RandomResizedCrop:
    """scale: the part's area as a fraction of the image, least and most. ratio: its width / height,
    least and most.
    """

    resizes = True

    def __init__(
        self,
        image: Image,
        *,
        scale: Annotated[tuple[Fraction, Fraction], AfterValidator(ordered)] = (0.08, 1.0),
        ratio: Range = (3 / 4, 4 / 3),
    ) -> None:
        self.size = image.size
        self.scale = list(scale)
        self.ratio = list(ratio)

    def __call__(self, sample: Sample) -> Sample:
        first = next(iter(sample.images.values()))
        top, left, height, width = transforms.RandomResizedCrop.get_params(first, self.scale, self.ratio)
        part = (height, width)
        return moved(sample, cut(image_size(sample), top, left, part).then(resize(part, self.size)))
