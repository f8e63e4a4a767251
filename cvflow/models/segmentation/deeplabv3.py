"""DeepLabv3 (Chen et al., 2017, arXiv 1706.05587), with torchvision's names.

The trick: the last level is read by convolutions of several dilations side by side, and by its
mean over the whole image (atrous spatial pyramid pooling), so that each pixel is judged by
surroundings of several sizes.
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
"""Input pixels from a dilated kernel's centre to its edge: rates 12, 24, 36 at stride 8.

At stride 16 they are 6, 12, 18.
"""


@register("model", "deeplabv3")
class DeepLabV3(DilatedFCN):
    """The options are those of dilated_fcn; the dilations follow from the backbone's last stride."""

    def main_head(self, net: Backbone, classes: int, dropout: float) -> nn.Module:
        rates = [max(1, reach // net.strides[-1]) for reach in REACH]
        return nn.Sequential(
            ASPP(net.channels[-1], rates),
            *conv_bn_relu(WIDTH, WIDTH),
            nn.Conv2d(WIDTH, classes, 1),
        )


class ASPP(nn.Module):
    """A 1x1 convolution, one for each rate, and the mean of the map; joined by a 1x1 convolution.

    Dropout 0.5 as torchvision has it.
    """

    def __init__(self, inner: int, rates: list[int]) -> None:
        super().__init__()
        branches: list[nn.Module] = [conv_bn_relu(inner, WIDTH, 1)]
        for rate in rates:
            branches.append(conv_bn_relu(inner, WIDTH, 3, rate))
        branches.append(MeanBranch(inner))
        self.convs = nn.ModuleList(branches)
        joined_width = len(branches) * WIDTH
        self.project = nn.Sequential(*conv_bn_relu(joined_width, WIDTH, 1), nn.Dropout(0.5))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        branches = [branch(x_BCHW) for branch in self.convs]
        x_BCHW = torch.cat(branches, 1)
        joined: Tensor = self.project(x_BCHW)
        return joined


class MeanBranch(nn.Sequential):
    """The mean over the map, at every place of it."""

    def __init__(self, inner: int) -> None:
        # The first place is torchvision's pooling, so that its names for the weights fit.
        conv = nn.Conv2d(inner, WIDTH, 1, bias=False)
        super().__init__(nn.Identity(), conv, MeanNorm(WIDTH), nn.ReLU())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        pooled_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        mean_BC11: Tensor = super().forward(pooled_BC11)  # type: ignore[no-untyped-call]
        return mean_BC11.expand(-1, -1, *x_BCHW.shape[2:])


class MeanNorm(nn.BatchNorm2d):
    """A batch of one mean has no variance: it is normalised by the averages."""

    def forward(self, mean_BC11: Tensor) -> Tensor:
        if self.training and len(mean_BC11) == 1:
            return F.batch_norm(
                mean_BC11, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(mean_BC11)
