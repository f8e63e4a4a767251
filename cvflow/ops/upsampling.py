"""Finer maps from coarse ones: nearest, bed of nails, max unpooling, transposed convolution.

Shapes: BCHW in, B C factor*H factor*W out. All have deterministic kernels on CPU and CUDA, which
torch's own ``max_unpool2d`` has not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def nearest(x_BCHW: Tensor, factor: int = 2) -> Tensor:
    """Fill a square with each value."""
    B, C, H, W = x_BCHW.shape
    squares = x_BCHW[:, :, :, None, :, None].expand(B, C, H, factor, W, factor)
    return squares.reshape(B, C, H * factor, W * factor)


def bed_of_nails(x_BCHW: Tensor, factor: int = 2) -> Tensor:
    """Put each value into the upper left corner of a square of zeros."""
    B, C, H, W = x_BCHW.shape
    gap = factor - 1
    squares = F.pad(x_BCHW[:, :, :, None, :, None], (0, gap, 0, 0, 0, gap))
    return squares.reshape(B, C, H * factor, W * factor)


def max_pool(x_BCHW: Tensor, factor: int = 2) -> tuple[Tensor, Tensor]:
    """Return (the greatest value of each square, its switch: its index in the flattened HxW).

    An odd last row or column is left out.
    """
    return F.max_pool2d(x_BCHW, factor, return_indices=True)


def max_unpool(x_BCHW: Tensor, switches_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Put each value where its switch says, zeros elsewhere (Zeiler and Fergus 2013, arXiv 1311.2901).

    size: height and width of the map that was pooled.
    """
    B, C = x_BCHW.shape[:2]
    zeros = x_BCHW.new_zeros(B, C, size[0] * size[1])
    flat = zeros.scatter(2, switches_BCHW.flatten(2), x_BCHW.flatten(2))
    return flat.reshape(B, C, *size)


def bilinear_kernel(factor: int) -> Tensor:
    """Return the kernel with which a transposed convolution of this stride interpolates bilinearly.

    It is a square of side 2 * factor - factor % 2.
    """
    side = _side(factor)
    centre = (side - 1) / 2
    line = 1 - (torch.arange(side) - centre).abs() / factor
    return line[:, None] * line[None]


def cropping(factor: int) -> dict[str, int]:
    """Return stride and padding that make a transposed convolution exactly ``factor`` times as large."""
    padding = (factor - factor % 2) // 2
    return {"stride": factor, "padding": padding}


def _side(factor: int) -> int:
    return 2 * factor - factor % 2


class LearntUpsampling(nn.ConvTranspose2d):
    """A transposed convolution that begins as bilinear interpolation of each channel.

    Long et al. 2014, arXiv 1411.4038.
    """

    def __init__(self, channels: int, factor: int = 2) -> None:
        crop = cropping(factor)
        super().__init__(channels, channels, _side(factor), bias=False, **crop)  # type: ignore[arg-type]
        each_channel = torch.eye(channels)[:, :, None, None]
        with torch.no_grad():
            self.weight.copy_(each_channel * bilinear_kernel(factor))


class BilinearUpsampling(nn.Module):
    """The same transposed convolution, fixed: its border fades, as zeros lie beyond."""

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.crop = cropping(factor)
        # It follows from the factor, so it is not saved.
        self.register_buffer("kernel", bilinear_kernel(factor)[None, None], persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C = x_BCHW.shape[:2]
        each_channel = x_BCHW.flatten(0, 1)[:, None]
        kernel = self.kernel.to(x_BCHW.dtype)
        finer = F.conv_transpose2d(each_channel, kernel, **self.crop)  # type: ignore[arg-type]
        return finer.reshape(B, C, *finer.shape[2:])
