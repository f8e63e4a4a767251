"""Every image to the model's size and channels, the same way each time."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from cvflow.config import Image
from cvflow.data.transforms.apply import on_images
from cvflow.types import Sample


class Fit:
    """Antialiased resize by the recipe's ``image.resize``, then grey or RGB."""

    def __init__(self, image: Image) -> None:
        self.size, self.channels, self.resize = image.size, image.channels, image.resize

    def __call__(self, sample: Sample) -> Sample:
        return on_images(sample, self._fit)

    def _fit(self, image: Tensor) -> Tensor:
        if tuple(image.shape[1:]) != self.size:
            image = self._resized(image)
        if image.shape[0] == self.channels:
            return image
        result: Tensor = F.rgb_to_grayscale(image) if self.channels == 1 else image.expand(3, -1, -1)
        return result

    def _resized(self, image: Tensor) -> Tensor:
        """Of this size: stretched, or scaled by one factor and cut or bordered evenly (the odd pixel at the end)."""
        height, width = self.size
        new = [height, width]
        if self.resize != "stretch":
            ratios = height / image.shape[1], width / image.shape[2]
            scale = max(ratios) if self.resize == "crop" else min(ratios)
            new = [max(1, round(length * scale)) for length in image.shape[1:]]
        result: Tensor = F.resize(image, new, antialias=True)
        if self.resize == "crop":
            result = F.crop(result, (new[0] - height) // 2, (new[1] - width) // 2, height, width)
        elif self.resize == "pad":
            above, left = (height - new[0]) // 2, (width - new[1]) // 2
            result = F.pad(result, [left, above, width - new[1] - left, height - new[0] - above])
        return result
