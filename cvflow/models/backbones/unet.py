"""The way down of U-Net: pairs of convolutions and poolings, doubling the channels (Ronneberger et al., 2015, arXiv 1505.04597).

Made for maps rather than for a class: its first level has the image's size. Convolutions are padded, norms are batch norms.
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
    """width: channels of the first level, 64 in the paper; each next one has twice as many. levels: 5 in the paper."""

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
        self.channels = tuple(width * 2**i for i in range(levels))
        self.strides = tuple(2**i for i in range(levels))
        self.num_features = self.channels[-1]
        pairs = zip([in_channels, *self.channels], self.channels, strict=False)
        self.stages = nn.ModuleList(nn.Sequential(conv_bn_relu(a, b), conv_bn_relu(b, b)) for a, b in pairs)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(F.max_pool2d(maps[-1], 2) if maps else x_BCHW))
        return maps
