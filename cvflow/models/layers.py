"""Layers that several networks are made of."""

from __future__ import annotations

from torch import nn


def conv_bn_relu(inner: int, outer: int, kernel: int = 3, dilation: int = 1, bias: bool = False) -> nn.Sequential:
    """Of the same size, for an odd kernel."""
    conv = nn.Conv2d(inner, outer, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU(inplace=True))
