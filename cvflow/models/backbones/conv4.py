"""Four rounds of convolution, batch norm, ReLU and pooling: the network of few-shot learning.

Vinyals et al., 2016, arXiv 1606.04080. The trick: none but size; small, it learns from few images, and its
last map, 1 x 1 at 28 pixels, keeps where a stroke is.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from cvflow.models.backbones.base import Backbone, too_small
from cvflow.registry import register


@register("backbone", "conv4")
class Conv4(Backbone):
    """Levels at stride 2, 4, 8 and 16; embeds to the last map's pixels one after the other.

    width: channels of each level.
    """

    strides = (2, 4, 8, 16)

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], *, width: Annotated[int, Field(gt=0)] = 64
    ) -> None:
        super().__init__()
        if min(image_size) < 16:
            raise too_small("conv4", image_size, 16)
        # 16 is the stride of the last level.
        height, image_width = image_size
        self.channels = (width,) * 4
        self.num_features = width * (height // 16) * (image_width // 16)
        self.levels = nn.ModuleList()
        for inner in (in_channels, width, width, width):
            self.levels.append(level(inner, width))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps = []
        for layer in self.levels:
            x_BCHW = layer(x_BCHW)
            maps.append(x_BCHW)
        return maps

    def embed(self, x_BCHW: Tensor) -> Tensor:
        levels = self.forward(x_BCHW)
        return levels[-1].flatten(1)


def level(inner: int, outer: int) -> nn.Sequential:
    """Return a round; its convolution is without bias, as a batch norm follows."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
