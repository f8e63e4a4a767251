"""A small encoder-decoder with each of the four upsamplings.

Noh et al., 2015, arXiv 1505.04366, and others compare them.

The idea: a stack of convolutions and poolings sees far and answers coarsely; its mirror image
brings the answer back to the image's size. What is lost between is where things were, which max
unpooling alone remembers, in the switches of its pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone, too_small
from cvflow.models.classifier import Statistics
from cvflow.models.layers import conv_bn_relu
from cvflow.models.segmentation.base import Segmenter
from cvflow.ops.upsampling import LearntUpsampling, bed_of_nails, max_pool, max_unpool, nearest
from cvflow.registry import register
from cvflow.types import DatasetInfo

Upsampling = Literal["nearest", "bed_of_nails", "max_unpooling", "transposed_conv"]
Widths = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class Mirrored(Segmenter):
    """Stages of convolutions, each ended by a pooling; then the same in reverse, each begun by an upsampling.

    widths: channels of each stage, fine to coarse; depths: its convolutions.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        normalize: Statistics,
        widths: Sequence[int],
        depths: Sequence[int],
        upsampling: Upsampling,
    ) -> None:
        super().__init__(Encoder(image, widths, depths), image, info, normalize, 2 ** len(widths))
        self.upsampling = upsampling
        learnt = upsampling == "transposed_conv"
        coarse_to_fine = list(widths)[::-1]
        self.learnt = nn.ModuleList(map(LearntUpsampling, coarse_to_fine)) if learnt else None
        outer_widths = [*coarse_to_fine[1:], widths[0]]
        self.decoder = nn.ModuleList()
        for inner, outer, depth in zip(coarse_to_fine, outer_widths, reversed(depths), strict=True):
            self.decoder.append(nn.Sequential(*convs([inner] * depth + [outer])))
        self.score = nn.Conv2d(widths[0], len(info.classes), 3, padding=1)

    def logits(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        x_BCHW, switches = self.backbone.encode(x_BCHW)  # type: ignore[operator]
        for number, stage in enumerate(self.decoder):
            # Unpooling forgets the memory order, and convolutions are slow in the other.
            order = memory_order(x_BCHW)
            finer = self.finer(x_BCHW, switches[-1 - number], number)
            x_BCHW = stage(finer.contiguous(memory_format=order))
        return {"loss": self.score(x_BCHW)}

    def finer(self, x_BCHW: Tensor, switches_BCHW: Tensor, number: int) -> Tensor:
        """Return a map of twice the size."""
        if self.upsampling == "max_unpooling":
            height, width = x_BCHW.shape[2:]
            return max_unpool(x_BCHW, switches_BCHW, (2 * height, 2 * width))
        if self.learnt is not None:
            learnt: Tensor = self.learnt[number](x_BCHW)
            return learnt
        return nearest(x_BCHW) if self.upsampling == "nearest" else bed_of_nails(x_BCHW)


def memory_order(x_BCHW: Tensor) -> torch.memory_format:
    """Return the order in which a map's numbers lie in memory."""
    if x_BCHW.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


class Encoder(Backbone):
    """Convolutions with batch norm, and a pooling after each stage.

    The order and the names are those of torchvision's VGGs.
    """

    def __init__(self, image: Image, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        if min(image.size) < 2 ** len(widths):
            raise too_small("of an encoder-decoder", image.size, 2 ** len(widths))
        layers: list[nn.Module] = []
        for inner, outer, depth in zip([image.channels, *widths], widths, depths, strict=False):
            for conv in convs([inner] + [outer] * depth):
                layers += conv.children()
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def encode(self, x_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (the coarsest map, the switches of each pooling)."""
        switches = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x_BCHW, switch = max_pool(x_BCHW)
                switches.append(switch)
            else:
                x_BCHW = layer(x_BCHW)
        return x_BCHW, switches


def convs(widths: Sequence[int]) -> list[nn.Sequential]:
    """Return convolutions with biases, as in torchvision's VGGs."""
    stack = []
    for inner, outer in pairwise(widths):
        stack.append(conv_bn_relu(inner, outer, bias=True))
    return stack


@register("model", "encoder_decoder")
class EncoderDecoder(Mirrored):
    """upsampling: nearest, bed_of_nails, max_unpooling or transposed_conv.

    max_unpooling uses the switches of the pooling; transposed_conv is learnt, bilinear at first.
    widths: channels of each stage, fine to coarse. depth: convolutions of a stage.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        upsampling: Upsampling = "nearest",
        widths: Widths = (32, 64, 128),
        depth: Annotated[int, Field(ge=1)] = 2,
        normalize: Statistics = "auto",
    ) -> None:
        super().__init__(
            image,
            info,
            normalize,
            widths,
            [depth] * len(widths),
            upsampling,
        )
