"""DeepLabv3 (Chen et al., 2017, arXiv 1706.05587), with torchvision's names.

The trick: the last level is read by convolutions of several dilations side by side, and by its mean over the whole image
(atrous spatial pyramid pooling), so that each pixel is judged by surroundings of several sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.models.backbones.base import Backbone
from cvflow.models.layers import conv_bn_relu
from cvflow.models.segmentation.dilated_fcn import DilatedFCN
from cvflow.registry import register

WIDTH = 256
REACH = (96, 192, 288)
"""Of the dilated kernels, in input pixels from centre to edge: rates 12, 24, 36 at stride 8; 6, 12, 18 at stride 16."""


@register("model", "deeplabv3")
class DeepLabV3(DilatedFCN):
    """The options are those of dilated_fcn; the dilations follow from the backbone's last stride."""

    def main_head(self, net: Backbone, classes: int, dropout: float) -> nn.Module:
        rates = [max(1, reach // net.strides[-1]) for reach in REACH]
        return nn.Sequential(
            ASPP(net.channels[-1], rates), *conv_bn_relu(WIDTH, WIDTH), nn.Conv2d(WIDTH, classes, 1)
        )


class ASPP(nn.Module):
    """A 1x1 convolution, one for each rate, and the mean of the map; joined by a 1x1 convolution. Dropout 0.5 as torchvision has it."""

    def __init__(self, inner: int, rates: list[int]) -> None:
        super().__init__()
        branches = [
            conv_bn_relu(inner, WIDTH, 1),
            *(conv_bn_relu(inner, WIDTH, 3, rate) for rate in rates),
            MeanBranch(inner),
        ]
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(*conv_bn_relu(len(branches) * WIDTH, WIDTH, 1), nn.Dropout(0.5))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        joined: Tensor = self.project(torch.cat([branch(x_BCHW) for branch in self.convs], 1))
        return joined


class MeanBranch(nn.Sequential):
    """The mean over the map, at every place of it."""

    def __init__(self, inner: int) -> None:
        super().__init__(nn.Identity(), nn.Conv2d(inner, WIDTH, 1, bias=False), MeanNorm(WIDTH), nn.ReLU())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_BC11: Tensor = super().forward(x_BCHW.mean((2, 3), keepdim=True))  # type: ignore[no-untyped-call]
        return mean_BC11.expand(-1, -1, *x_BCHW.shape[2:])


class MeanNorm(nn.BatchNorm2d):
    """A batch of one mean has no variance: it is normalised by the averages."""

    def forward(self, mean_BC11: Tensor) -> Tensor:
        if self.training and len(mean_BC11) == 1:
            return F.batch_norm(
                mean_BC11, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(mean_BC11)
