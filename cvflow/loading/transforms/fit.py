"""Every image to the model's size and channels, the same way each time."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import image_size, moved
from cvflow.loading.transforms.geometry import Move, resized, window
from cvflow.loading.transforms.lazy_torchvision import F
from cvflow.ops.place import Place, Size, shifted
from cvflow.ops.place import resized as stretched
from cvflow.types import Sample


class Fit:
    """Antialiased resize by the recipe's ``image.resize``, then grey or RGB.

    ``sample.placed`` says where the original lies.
    """

    def __init__(self, image: Image) -> None:
        self.size = image.size
        self.channels = image.channels
        self.resize = image.resize

    def __call__(self, sample: Sample) -> Sample:
        size = image_size(sample)
        place = fitted(size, self.size, self.resize)
        if size == self.size:
            sample = sample.but(placed=place if sample.placed is None else sample.placed)
        else:
            sample = moved(sample, Move(place, lambda x: self._fitted(x, place)))
        return sample.but(images={name: self._coloured(image) for name, image in sample.images.items()})

    def _fitted(self, x: Tensor, place: Place) -> Tensor:
        new = inner_size(place)
        result = resized(x, new)
        if new == self.size:
            return result
        top, left = (-round(offset) for offset in place.offset)
        return window(result, top, left, self.size)

    def _coloured(self, image: Tensor) -> Tensor:
        if image.shape[0] == self.channels:
            return image
        result: Tensor = F.rgb_to_grayscale(image) if self.channels == 1 else image.expand(3, -1, -1)
        return result


def inner_size(place: Place) -> Size:
    """Return the size that the whole original has for the model."""
    return round(place.size[0] * place.scale[0]), round(place.size[1] * place.scale[1])


@lru_cache(1024)
def fitted(size: Size, to: Size, resize: str) -> Place:
    """Return how an image of this size is fitted: stretched, or scaled by one factor and cut or
    bordered evenly.

    An odd pixel of the border is at the end.
    """
    if resize == "stretch":
        return stretched(size, to)
    ratios = to[0] / size[0], to[1] / size[1]
    scale = max(ratios) if resize == "crop" else min(ratios)
    new = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return stretched(size, new).then(shifted(new, _offset(new[0], to[0]), _offset(new[1], to[1])))


def _offset(have: int, want: int) -> int:
    """Return where the first of ``have`` pixels lies in ``want``; negative if some are cut off."""
    return -((have - want) // 2) if have > want else (want - have) // 2
