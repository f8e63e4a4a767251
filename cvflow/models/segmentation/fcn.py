"""Fully convolutional networks (Long, Shelhamer and Darrell, 2014, arXiv 1411.4038).

The trick: a classifier slid over the image is a convolution. Its fully connected layers become convolutions, its coarse
scores are interpolated, and scores of finer levels are added on the way up (skips), so that the outlines come back.
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


@register("model", "fcn")
class FCN(Segmenter):
    """variant: how many finer levels are added, by the stride that is left on a backbone of stride 32: 32s none, 16s one, 8s two.

    Fully connected layers of the backbone (VGG, AlexNet) are slid over its last level; on others one convolution stands for them.
    dropout: after each of these. Upsamplings by 2 begin bilinear and learn; the last one is fixed, as in the paper.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = Component(name="torchvision"),  # noqa: B008, it is frozen
        variant: Literal["32s", "16s", "8s"] = "8s",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        normalize: Statistics = "auto",
    ) -> None:
        net: Backbone = build("backbone", backbone, image.channels, image.size)
        used = falling(net, SKIPS[variant] + 1, f"FCN-{variant}")[-1 - SKIPS[variant] :]
        super().__init__(net, image, info, normalize, net.strides[-1])
        self.used, classes = used, len(info.classes)
        if net.slides:
            width = net.num_features
            self.head: nn.Module = nn.Identity()
        else:
            net.maps_only()
            width = max(classes, net.channels[-1] // 4)
            self.head = nn.Sequential(conv_bn_relu(net.channels[-1], width), nn.Dropout(dropout))
        self.score = nn.Conv2d(width, classes, 1)
        self.skips = nn.ModuleList(zero(nn.Conv2d(net.channels[i], classes, 1)) for i in used[-2::-1])
        ratios = [net.strides[b] // net.strides[a] for a, b in pairwise(used)]
        self.upsamplings = nn.ModuleList(LearntUpsampling(classes, ratio) for ratio in reversed(ratios))
        self.last = BilinearUpsampling(net.strides[used[0]])

    def decode(self, levels: list[Tensor]) -> dict[str, Tensor]:
        coarse = levels[-1]
        scores = self.score(self.head(self.backbone.slide(coarse) if self.backbone.slides else coarse))
        for i, skip, upsampling in zip(self.used[-2::-1], self.skips, self.upsamplings, strict=True):
            finer = skip(levels[i])
            scores = fitted(upsampling(scores), finer) + finer
        return {"loss": self.last(scores)}


def zero(conv: nn.Conv2d) -> nn.Conv2d:
    """A skip begins with nothing to say, so that the finer net starts as the coarser one (section 4.2)."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
