"""Every image to the model's size and channels, the same way each time."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from cvflow.config import Image
from cvflow.loading.transforms.apply import moved
from cvflow.loading.transforms.geometry import Size, resized, window
from cvflow.loading.transforms.lazy_torchvision import F
from cvflow.ops.placement import Placement
from cvflow.types import Sample


class Fit:
    """Antialiased resize by the recipe's ``image.resize``, then grey or RGB. The sample knows how the images it had now lie."""

    def __init__(self, image: Image) -> None:
        self.size, self.channels, self.resize = image.size, image.channels, image.resize

    def __call__(self, sample: Sample) -> Sample:
        height, width = next(iter(sample.images.values())).shape[1:]
        placed = placement(height, width, self.size, self.resize)
        if (height, width) != self.size:
            sample = moved(sample, lambda x: self._placed(x, placed))
        return sample.but(
            images={name: self._coloured(image) for name, image in sample.images.items()}, placed=placed
        )

    def _placed(self, x: Tensor, placed: Placement) -> Tensor:
        new = [round(length * scale) for length, scale in zip(placed.size, placed.scale, strict=True)]
        result = resized(x, new)
        if tuple(new) == self.size:
            return result
        top, left = (-round(offset) for offset in placed.offset)
        return window(result, top, left, self.size)

    def _coloured(self, image: Tensor) -> Tensor:
        if image.shape[0] == self.channels:
            return image
        result: Tensor = F.rgb_to_grayscale(image) if self.channels == 1 else image.expand(3, -1, -1)
        return result


@lru_cache(1024)
def placement(height: int, width: int, size: Size, resize: str) -> Placement:
    """Of an image of this size: stretched, or scaled by one factor and cut or bordered evenly (the odd pixel at the end)."""
    new = list(size)
    if resize != "stretch":
        ratios = size[0] / height, size[1] / width
        scale = max(ratios) if resize == "crop" else min(ratios)
        new = [max(1, round(length * scale)) for length in (height, width)]
    tops = [-((n - have) // 2) if n > have else (have - n) // 2 for n, have in zip(new, size, strict=True)]
    return Placement((height, width), (new[0] / height, new[1] / width), (tops[0], tops[1]))
