"""Layers that several networks are made of."""

from __future__ import annotations

from torch import Tensor, nn

ConvNorms = tuple[tuple[str, str], ...]
"""Which norm follows which convolution: pairs of names below the module that states them. Only the norm reads the
convolution's output, and each of the two is called in no other place."""


def conv_bn_relu(
    inner: int, outer: int, kernel: int = 3, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    """Of the same size, for an odd kernel."""
    return nn.Sequential(
        SameConv2d(inner, outer, kernel, dilation, bias), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)
    )


class SameConv2d(nn.Conv2d):
    """A convolution with an odd kernel whose answer has the size of its input.

    Weights that would meet nothing but padding, as of a 3x3 kernel with dilation 24 on a map of 12x12 all but the middle one, are
    left out of the computation: the answer is the same, their gradient zero.
    """

    def __init__(self, inner: int, outer: int, kernel: int, dilation: int = 1, bias: bool = True) -> None:
        super().__init__(inner, outer, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        kernel, dilation = self.kernel_size[0], self.dilation[0]
        reaches = [min(kernel // 2, (size - 1) // dilation) for size in x_BCHW.shape[2:]]
        if min(reaches) == kernel // 2:
            return super().forward(x_BCHW)
        rows, columns = (slice(kernel // 2 - reach, kernel // 2 + reach + 1) for reach in reaches)
        padding = tuple(dilation * reach for reach in reaches)
        return nn.functional.conv2d(
            x_BCHW, self.weight[:, :, rows, columns], self.bias, padding=padding, dilation=dilation
        )
