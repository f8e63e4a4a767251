"""What networks that compare two images share: one feature extractor for both, sizes that fit the strides, answers upsampled.

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
    """Normalised images -> a map a level, each of half the size of the one before; the first at stride 2."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                halving(inner, outer), conv_bn_relu(outer, outer), nn.Conv2d(outer, outer, 3, padding=1)
            )
            for inner, outer in zip((channels, *widths), widths, strict=False)
        )

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for level in self.levels:
            x_BCHW = level(F.relu(x_BCHW) if maps else x_BCHW)
            maps.append(x_BCHW)
        return maps


def halving(inner: int, outer: int) -> nn.Sequential:
    """Half the size."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


class TwoImages(nn.Module):
    """Standardises two images and borders them to a multiple of ``stride``; ``matched`` of a subclass compares them.

    answer: what it gives, ``disparity`` or ``flow``.
    """

    answer: str
    stride: int

    def __init__(self, channels: int, info: DatasetInfo) -> None:
        super().__init__()
        self.normalize = Normalize(info.mean, info.std, channels)

    def forward(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """uint8 images, 0..255, of one size -> maps of that size, in its pixels, from the coarsest to the last, which is the answer."""
        height, width = first_BCHW.shape[2:]
        border = (0, -width % self.stride, 0, -height % self.stride)
        first, second = (
            F.pad(self.normalize(x), border, mode="replicate") for x in (first_BCHW, second_BCHW)
        )
        return [answer[:, :, :height, :width] for answer in self.matched(first, second)]

    def matched(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        raise NotImplementedError


def enlarged(pixels_BCHW: Tensor, factor: int) -> Tensor:
    """A map of distances in its own pixels, at ``factor`` times the size and in the pixels there."""
    upsampled = F.interpolate(pixels_BCHW, scale_factor=factor, mode="bilinear", align_corners=False)
    return factor * upsampled
