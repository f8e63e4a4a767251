"""Layers that several networks are made of."""

from __future__ import annotations

from torch import Tensor, nn

ConvNorms = tuple[tuple[str, str], ...]
"""Which norm follows which convolution: pairs of names below the module that states them. Only
the norm reads the convolution's output, and each of the two is called in no other place."""


def conv_bn_relu(
    inner: int, outer: int, kernel: int = 3, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    """Return a convolution, its norm and a ReLU, which keep the size for an odd kernel."""
    return nn.Sequential(
        SameConv2d(inner, outer, kernel, dilation, bias),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


class SameConv2d(nn.Conv2d):
    """A convolution with an odd kernel whose answer has the size of its input.

    Weights that would meet nothing but padding are left out of the computation, as all but the middle
    one of a 3x3 kernel with dilation 24 on a map of 12x12. The answer is the same, their gradient zero.
    """

    def __init__(self, inner: int, outer: int, kernel: int, dilation: int = 1, bias: bool = True) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            inner,
            outer,
            kernel,
            padding=padding,
            dilation=dilation,
            bias=bias,
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        dilation = self.dilation[0]
        centre = self.kernel_size[0] // 2
        # How many weights beside the middle one can meet a pixel.
        down = min(centre, (height - 1) // dilation)
        across = min(centre, (width - 1) // dilation)
        if min(down, across) == centre:
            return super().forward(x_BCHW)
        rows = slice(centre - down, centre + down + 1)
        columns = slice(centre - across, centre + across + 1)
        weight = self.weight[:, :, rows, columns]
        padding = (dilation * down, dilation * across)
        return nn.functional.conv2d(x_BCHW, weight, self.bias, padding=padding, dilation=dilation)
