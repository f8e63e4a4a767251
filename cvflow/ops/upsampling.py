"""Finer maps from coarse ones: nearest, bed of nails, max unpooling, transposed convolution.

Shapes: BCHW in, B C factor*H factor*W out. All have deterministic kernels on CPU and CUDA, which torch's own ``max_unpool2d`` has not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def nearest(x_BCHW: Tensor, factor: int = 2) -> Tensor:
    """Every value fills a square."""
    B, C, H, W = x_BCHW.shape
    return (
        x_BCHW[:, :, :, None, :, None]
        .expand(B, C, H, factor, W, factor)
        .reshape(B, C, H * factor, W * factor)
    )


def bed_of_nails(x_BCHW: Tensor, factor: int = 2) -> Tensor:
    """Every value stands in the upper left corner of a square of zeros."""
    B, C, H, W = x_BCHW.shape
    apart = F.pad(x_BCHW[:, :, :, None, :, None], (0, factor - 1, 0, 0, 0, factor - 1))
    return apart.reshape(B, C, H * factor, W * factor)


def max_pool(x_BCHW: Tensor, factor: int = 2) -> tuple[Tensor, Tensor]:
    """(the greatest of each square, its switch: the place in the flattened HxW). An odd last row or column is left out."""
    return F.max_pool2d(x_BCHW, factor, return_indices=True)


def max_unpool(x_BCHW: Tensor, switches_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Every value where its switch says, zeros elsewhere (Zeiler and Fergus 2013, arXiv 1311.2901). size: of the map once pooled."""
    B, C = x_BCHW.shape[:2]
    flat = x_BCHW.new_zeros(B, C, size[0] * size[1])
    return flat.scatter(2, switches_BCHW.flatten(2), x_BCHW.flatten(2)).reshape(B, C, *size)


def bilinear_kernel(factor: int) -> Tensor:
    """The square kernel, of side 2 * factor - factor % 2, with which a transposed convolution of that stride interpolates bilinearly."""
    side = 2 * factor - factor % 2
    centre = (side - 1) / 2
    line = 1 - (torch.arange(side) - centre).abs() / factor
    return line[:, None] * line[None]


def cropping(factor: int) -> dict[str, int]:
    """What makes a transposed convolution with that kernel and stride exactly ``factor`` times as large."""
    return {"stride": factor, "padding": (factor - factor % 2) // 2}


class LearntUpsampling(nn.ConvTranspose2d):
    """A transposed convolution that begins as bilinear interpolation of each channel (Long et al. 2014, arXiv 1411.4038)."""

    def __init__(self, channels: int, factor: int = 2) -> None:
        super().__init__(channels, channels, 2 * factor - factor % 2, bias=False, **cropping(factor))  # type: ignore[arg-type]
        with torch.no_grad():
            self.weight.copy_(torch.eye(channels)[:, :, None, None] * bilinear_kernel(factor))


class BilinearUpsampling(nn.Module):
    """The same transposed convolution, fixed: bilinear interpolation whose border fades, as zeros lie beyond."""

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.crop = cropping(factor)
        self.register_buffer("kernel", bilinear_kernel(factor)[None, None], persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C = x_BCHW.shape[:2]
        finer = F.conv_transpose2d(x_BCHW.flatten(0, 1)[:, None], self.kernel.to(x_BCHW.dtype), **self.crop)  # type: ignore[arg-type]
        return finer.reshape(B, C, *finer.shape[2:])
