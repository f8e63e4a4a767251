"""An image or feature map looked up where a flow points.

Bilinear sampling: Jaderberg et al. 2015, arXiv 1506.02025.
"""

from __future__ import annotations

import torch
from torch import Tensor


def warp(x_BCHW: Tensor, flow_B2HW: Tensor) -> Tensor:
    """Return x at (column + u, row + v), bilinear; beyond the border its last pixel goes on.

    Gradients reach both. Values are gathered, as grid_sample's backward has no reproducible kernel
    on CUDA.
    """
    height, width = x_BCHW.shape[2:]
    row_index = torch.arange(height, device=x_BCHW.device)
    column_index = torch.arange(width, device=x_BCHW.device)
    rows, columns = torch.meshgrid(row_index, column_index, indexing="ij")
    x = (columns + flow_B2HW[:, 0]).clamp(0, width - 1)
    y = (rows + flow_B2HW[:, 1]).clamp(0, height - 1)

    left = _lower_neighbour(x, width)
    top = _lower_neighbour(y, height)
    across = (x - left)[:, None]
    down = (y - top)[:, None]
    left = left.long()
    top = top.long()
    right = (left + 1).clamp(max=width - 1)
    bottom = (top + 1).clamp(max=height - 1)

    above = _pixels(x_BCHW, top, left) * (1 - across) + _pixels(x_BCHW, top, right) * across
    below = _pixels(x_BCHW, bottom, left) * (1 - across) + _pixels(x_BCHW, bottom, right) * across
    return above * (1 - down) + below * down


def _lower_neighbour(position: Tensor, length: int) -> Tensor:
    """Return the pixel before each position, never the last one of several."""
    # On the last pixel it is the one before, so that the gradient of the position is a difference.
    return position.detach().floor().clamp(max=max(length - 2, 0))


def _pixels(x_BCHW: Tensor, rows_BHW: Tensor, columns_BHW: Tensor) -> Tensor:
    """Return the values at (row, column)."""
    batch, channels, _, width = x_BCHW.shape
    flat_index = (rows_BHW * width + columns_BHW).view(batch, 1, -1)
    index = flat_index.expand(-1, channels, -1)
    return x_BCHW.flatten(2).gather(2, index).view_as(x_BCHW)
