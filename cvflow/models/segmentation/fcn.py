"""Fully convolutional networks (Long, Shelhamer and Darrell, 2014, arXiv 1411.4038).

The trick: a classifier slid over the image is a convolution. Its fully connected layers become
convolutions, its coarse scores are interpolated, and scores of finer levels are added on the
way up (skips), so that the outlines come back.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Statistics
from cvflow.models.layers import conv_bn_relu
from cvflow.models.segmentation.base import Segmenter, falling, fitted
from cvflow.ops.upsampling import BilinearUpsampling, LearntUpsampling
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo

SKIPS = {"32s": 0, "16s": 1, "8s": 2}

MOBILENET = Component(name="torchvision")


@register("model", "fcn")
class FCN(Segmenter):
    """variant: how many finer levels are added: 32s none, 16s one, 8s two.

    The names are the stride that is left on a backbone of stride 32. Fully connected layers of
    the backbone (VGG, AlexNet) are slid over its last level; on others one convolution stands
    for them. dropout: after each of these. Upsamplings by 2 begin bilinear and learn; the last
    one is fixed, as in the paper.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = MOBILENET,
        variant: Literal["32s", "16s", "8s"] = "8s",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        normalize: Statistics = "auto",
    ) -> None:
        net: Backbone = build("backbone", backbone, image.channels, image.size)
        num_levels = SKIPS[variant] + 1
        used = falling(net, num_levels, f"FCN-{variant}")[-num_levels:]
        super().__init__(net, image, info, normalize, net.strides[-1])
        self.used = used
        classes = len(info.classes)
        if net.slides:
            width = net.num_features
            self.head: nn.Module = nn.Identity()
        else:
            net.maps_only()
            width = max(classes, net.channels[-1] // 4)
            self.head = nn.Sequential(conv_bn_relu(net.channels[-1], width), nn.Dropout(dropout))
        self.score = nn.Conv2d(width, classes, 1)
        self.skips = nn.ModuleList()
        for level in used[-2::-1]:
            self.skips.append(zero(nn.Conv2d(net.channels[level], classes, 1)))
        self.upsamplings = nn.ModuleList()
        for coarse, fine in pairwise(reversed(used)):
            ratio = net.strides[coarse] // net.strides[fine]
            self.upsamplings.append(LearntUpsampling(classes, ratio))
        self.last = BilinearUpsampling(net.strides[used[0]])

    def decode(self, levels: list[Tensor]) -> dict[str, Tensor]:
        coarse = levels[-1]
        if self.backbone.slides:
            coarse = self.backbone.slide(coarse)
        scores = self.score(self.head(coarse))
        for i, skip, upsampling in zip(self.used[-2::-1], self.skips, self.upsamplings, strict=True):
            finer = skip(levels[i])
            scores = fitted(upsampling(scores), finer) + finer
        return {"loss": self.last(scores)}


def zero(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution with weights 0: the finer net starts as the coarser one (section 4.2)."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
