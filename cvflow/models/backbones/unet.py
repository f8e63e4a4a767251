"""The way down of U-Net: pairs of convolutions and poolings, doubling the channels.

Ronneberger et al., 2015, arXiv 1505.04597. Made for maps rather than for a class: its first
level has the image's size. Convolutions are padded, norms are batch norms.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.models.backbones.base import Backbone, too_small
from cvflow.models.layers import conv_bn_relu
from cvflow.registry import register


@register("backbone", "unet")
class UNetEncoder(Backbone):
    """width: channels of the first level, 64 in the paper; each next one has twice as many.

    levels: 5 in the paper.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        width: Annotated[int, Field(ge=1)] = 64,
        levels: Annotated[int, Field(ge=1)] = 5,
    ) -> None:
        super().__init__()
        if min(image_size) < 2 ** (levels - 1):
            raise too_small("unet", image_size, 2 ** (levels - 1))
        self.strides = tuple(2**i for i in range(levels))
        self.channels = tuple(width * stride for stride in self.strides)
        self.num_features = self.channels[-1]
        self.stages = nn.ModuleList()
        inner = in_channels
        for outer in self.channels:
            stage = nn.Sequential(conv_bn_relu(inner, outer), conv_bn_relu(outer, outer))
            self.stages.append(stage)
            inner = outer

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for stage in self.stages:
            if maps:
                x_BCHW = F.max_pool2d(x_BCHW, 2)
            x_BCHW = stage(x_BCHW)
            maps.append(x_BCHW)
        return maps
