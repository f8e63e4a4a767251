"""U-Net (Ronneberger, Fischer and Brox, 2015, arXiv 1505.04597).

The trick: on the way back up, every level is joined with the map of the same size from the way
down, so that the decoder has both what is there and exactly where. Convolutions are padded
here, so nothing is cropped; norms are batch norms.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Statistics
from cvflow.models.layers import conv_bn_relu
from cvflow.models.segmentation.base import Segmenter, falling, fitted
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo

Widths = tuple[Annotated[int, Field(gt=0)], ...]

ENCODER = Component(name="unet")


@register("model", "unet")
class UNet(Segmenter):
    """backbone: the way down; ``unet`` is the paper's.

    widths: channels of each step up, coarse to fine; none = those of the level
    joined. A backbone that begins coarse gets a last step to the image's size, with nothing to join.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = ENCODER,
        widths: Widths = (),
        normalize: Statistics = "auto",
    ) -> None:
        net: Backbone = build("backbone", backbone, image.channels, image.size)
        net.maps_only()
        fine_to_coarse = falling(net, 2, "a U-Net")
        super().__init__(net, image, info, normalize, net.strides[-1])
        self.used = fine_to_coarse[::-1]
        strides = [net.strides[i] for i in self.used]
        skips = [net.channels[i] for i in self.used[1:]]
        if strides[-1] > 1:
            # A last step to the image's size, with nothing to join.
            strides.append(1)
            skips.append(0)
        channels = net.channels[self.used[0]]
        self.steps = nn.ModuleList()
        for number, (skip, (coarse, fine)) in enumerate(zip(skips, pairwise(strides), strict=True)):
            # Fewer than 16 channels would be too few for an image-sized last step.
            width = widths[number] if number < len(widths) else max(skip, 16)
            self.steps.append(Up(channels, width, skip, coarse // fine))
            channels = width
        self.score = nn.Conv2d(channels, len(info.classes), 1)

    def decode(self, levels: list[Tensor]) -> dict[str, Tensor]:
        x_BCHW = levels[self.used[0]]
        for number, step in enumerate(self.steps, start=1):
            skip = levels[self.used[number]] if number < len(self.used) else None
            x_BCHW = step(x_BCHW, skip)
        return {"loss": self.score(x_BCHW)}


class Up(nn.Module):
    """A transposed convolution without overlap, the joined map, two convolutions."""

    def __init__(self, inner: int, outer: int, skip: int, factor: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inner, outer, factor, factor)
        self.convs = nn.Sequential(conv_bn_relu(outer + skip, outer), conv_bn_relu(outer, outer))

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor | None) -> Tensor:
        finer: Tensor = self.up(x_BCHW)
        if skip_BCHW is not None:
            finer = torch.cat([skip_BCHW, fitted(finer, skip_BCHW)], 1)
        out: Tensor = self.convs(finer)
        return out
