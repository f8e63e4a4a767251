"""An image or feature map looked up where a flow points (Jaderberg et al. 2015, arXiv 1506.02025: bilinear sampling)."""

from __future__ import annotations

import torch
from torch import Tensor


def warp(x_BCHW: Tensor, flow_B2HW: Tensor) -> Tensor:
    """x at (column + u, row + v), bilinear; beyond the border its last pixel goes on. Gradients reach both.

    Gathers, for grid_sample's backward has no reproducible kernel on CUDA.
    """
    height, width = x_BCHW.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=x_BCHW.device), torch.arange(width, device=x_BCHW.device), indexing="ij"
    )
    x = (columns + flow_B2HW[:, 0]).clamp(0, width - 1)
    y = (rows + flow_B2HW[:, 1]).clamp(0, height - 1)
    left, top = (
        x.detach().floor().clamp(max=max(width - 2, 0)),
        y.detach().floor().clamp(max=max(height - 2, 0)),
    )
    across, down = (x - left)[:, None], (y - top)[:, None]
    left, top = left.long(), top.long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    above = _at(x_BCHW, top, left) * (1 - across) + _at(x_BCHW, top, right) * across
    below = _at(x_BCHW, bottom, left) * (1 - across) + _at(x_BCHW, bottom, right) * across
    return above * (1 - down) + below * down


def _at(x_BCHW: Tensor, rows_BHW: Tensor, columns_BHW: Tensor) -> Tensor:
    batch, channels, height, width = x_BCHW.shape
    places = (rows_BHW * width + columns_BHW).view(batch, 1, -1).expand(-1, channels, -1)
    return x_BCHW.flatten(2).gather(2, places).view_as(x_BCHW)
