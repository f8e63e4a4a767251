"""What networks that compare two images share: features, sizes that fit the strides, upsampling.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.models.layers import conv_bn_relu
from cvflow.models.normalize import Normalize
from cvflow.types import DatasetInfo


class Pyramid(nn.Module):
    """Feature maps of normalised images, each of half the size of the one before; the first at stride 2."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for width in widths:
            self.levels.append(level(channels, width))
            channels = width

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for step in self.levels:
            if maps:
                # A level ends without a ReLU, as what is compared may be negative.
                x_BCHW = F.relu(x_BCHW)
            x_BCHW = step(x_BCHW)
            maps.append(x_BCHW)
        return maps


def level(inner: int, outer: int) -> nn.Sequential:
    """Return the convolutions of a level of the pyramid."""
    return nn.Sequential(
        halving(inner, outer),
        conv_bn_relu(outer, outer),
        nn.Conv2d(outer, outer, 3, padding=1),
    )


def halving(inner: int, outer: int) -> nn.Sequential:
    """Return a convolution to half the size, its norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


class TwoImages(nn.Module):
    """A network that standardises two images and borders them to a multiple of ``stride``.

    ``matched`` of a subclass compares them.

    answer: what it gives, ``disparity`` or ``flow``.
    """

    answer: str
    stride: int

    def __init__(self, channels: int, info: DatasetInfo) -> None:
        super().__init__()
        self.normalize = Normalize(info.mean, info.std, channels)

    def forward(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """Return maps of the images' size, in its pixels, from the coarsest to the last, the answer.

        Images are uint8, 0..255, of one size.
        """
        height, width = first_BCHW.shape[2:]
        first = self._bordered(first_BCHW)
        second = self._bordered(second_BCHW)
        answers = self.matched(first, second)
        return [answer[:, :, :height, :width] for answer in answers]

    def _bordered(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[2:]
        right = -width % self.stride
        below = -height % self.stride
        images = self.normalize(images_BCHW)
        # Zeros would be an edge that both images share, and so a match.
        return F.pad(images, (0, right, 0, below), mode="replicate")

    def matched(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """Return the maps for standardised images whose sides the stride divides."""
        raise NotImplementedError


def enlarged(pixels_BCHW: Tensor, factor: int) -> Tensor:
    """Return a map of distances in pixels at ``factor`` times the size, in the finer pixels."""
    upsampled = F.interpolate(pixels_BCHW, scale_factor=factor, mode="bilinear", align_corners=False)
    return factor * upsampled
