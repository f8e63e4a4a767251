"""The dilated FCN as torchvision has it.

Long et al., 2014, arXiv 1411.4038, on dilated residual nets, Yu et al., 2017, arXiv 1705.09914.

The trick: where a backbone would halve its map again, its kernels are spread out instead, so
that the last level sees as much of the image and stays fine; one small head and a bilinear
upsampling are then enough. Names are torchvision's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Statistics
from cvflow.models.layers import conv_bn_relu
from cvflow.models.segmentation.base import Segmenter
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo

RESNET = Component.model_validate({"name": "torchvision", "model": "resnet50", "output_stride": 8})


@register("model", "dilated_fcn")
class DilatedFCN(Segmenter):
    """backbone: best one with ``output_stride``. dropout: before the scores.

    auxiliary: weight of the loss of a second head, on the level before the last, in training; 0
    = no such head.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = RESNET,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        auxiliary: Annotated[float, Field(ge=0)] = 0.0,
        normalize: Statistics = "auto",
    ) -> None:
        net: Backbone = build("backbone", backbone, image.channels, image.size)
        net.maps_only()
        super().__init__(net, image, info, normalize)
        self.classifier = self.main_head(net, len(info.classes), dropout)
        self.aux_classifier = None
        if auxiliary:
            before_last = max(0, len(net.channels) - 2)
            self.aux_classifier = fcn_head(net.channels[before_last], len(info.classes), dropout)
            self.loss_weights = {"aux_loss": auxiliary}

    def main_head(self, net: Backbone, classes: int, dropout: float) -> nn.Module:
        """Return what turns the last level into scores."""
        return fcn_head(net.channels[-1], classes, dropout)

    def decode(self, levels: list[Tensor]) -> dict[str, Tensor]:
        outputs = {"loss": self.classifier(levels[-1])}
        if self.aux_classifier is not None and self.training:
            before_last = max(0, len(levels) - 2)
            outputs["aux_loss"] = self.aux_classifier(levels[before_last])
        return outputs


def fcn_head(inner: int, classes: int, dropout: float) -> nn.Sequential:
    """Return a convolution to a quarter of the channels, then the scores."""
    width = max(1, inner // 4)
    return nn.Sequential(
        *conv_bn_relu(inner, width),
        nn.Dropout(dropout),
        nn.Conv2d(width, classes, 1),
    )
