"""The 6n+2-layer networks for CIFAR, with and without shortcuts.

He et al., 2015, arXiv 1512.03385, section 4.2.

The trick: a block learns the difference from its input, so that a deeper network is never harder to train.
Shortcuts have no parameters ("option A"): every second pixel, and zeros for the new channels.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from cvflow.models.backbones.base import Backbone
from cvflow.registry import register

Depth = Literal[8, 14, 20, 32, 44, 56, 110]
WIDTHS = (16, 32, 64)


def conv3x3(inner: int, outer: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, as a batch norm follows.

    It is initialised after He et al., 2015, arXiv 1502.01852.
    """
    conv = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


class PlainBlock(nn.Module):
    """Two convolutions, each with batch norm and ReLU."""

    conv_norms = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inner, outer, stride)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = conv3x3(outer, outer)
        self.bn2 = nn.BatchNorm2d(outer)
        self.stride = stride
        self.new_channels = outer - inner

    def residual(self, x_BCHW: Tensor) -> Tensor:
        """Return what the convolutions give, before the last ReLU."""
        hidden = F.relu(self.bn1(self.conv1(x_BCHW)))
        out: Tensor = self.bn2(self.conv2(hidden))
        return out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.residual(x_BCHW))


class ResidualBlock(PlainBlock):
    """The plain block with its input added before the last ReLU."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        before = self.new_channels // 2
        after = self.new_channels - before
        every_second = x_BCHW[:, :, :: self.stride, :: self.stride]
        # The new channels are zeros, half of them on either side.
        shortcut = F.pad(every_second, (0, 0, 0, 0, before, after))
        return F.relu(self.residual(x_BCHW) + shortcut)


class CifarNet(Backbone):
    """Three stages of n blocks, 6n+2 layers counting the stem and the classifier."""

    channels = WIDTHS
    strides = (1, 2, 4)
    num_features = WIDTHS[-1]
    head_keys = ("linear", "fc")
    conv_norms = (("conv1", "bn1"),)

    def __init__(self, in_channels: int, depth: int, block: type[PlainBlock]) -> None:
        super().__init__()
        count = (depth - 2) // 6
        fine, middle, coarse = WIDTHS
        self.conv1 = conv3x3(in_channels, fine)
        self.bn1 = nn.BatchNorm2d(fine)
        self.layer1 = stage(block, count, fine, fine, 1)
        self.layer2 = stage(block, count, fine, middle, 2)
        self.layer3 = stage(block, count, middle, coarse, 2)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        stem = F.relu(self.bn1(self.conv1(x_BCHW)))
        fine = self.layer1(stem)
        middle = self.layer2(fine)
        coarse = self.layer3(middle)
        return [fine, middle, coarse]


def stage(block: type[PlainBlock], count: int, inner: int, outer: int, stride: int) -> nn.Sequential:
    """Return ``count`` blocks; the first one changes width and resolution."""
    blocks = [block(inner, outer, stride)]
    while len(blocks) < count:
        blocks.append(block(outer, outer, 1))
    return nn.Sequential(*blocks)


@register("backbone", "cifar_resnet")
def cifar_resnet(in_channels: int, image_size: tuple[int, int], *, depth: Depth = 20) -> CifarNet:
    """Return a ResNet for small images; depth: layers, 6n+2."""
    return CifarNet(in_channels, depth, ResidualBlock)


@register("backbone", "cifar_plain")
def cifar_plain(in_channels: int, image_size: tuple[int, int], *, depth: Depth = 20) -> CifarNet:
    """Return the same network without shortcuts, which gets worse with depth; depth: layers, 6n+2."""
    return CifarNet(in_channels, depth, PlainBlock)
