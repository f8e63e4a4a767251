"""How alike two views are, for each place and each of a range of shifts.

Shapes: B batch, C channels, D disparities, G groups, H W pixels of the feature maps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def disparity_volume(left_BCHW: Tensor, right_BCHW: Tensor, disparities: int, groups: int) -> Tensor:
    """BGDHW: mean product over each group of channels of left at x and right at x - d, d = 0 .. D-1; 0 beyond the border.

    Group-wise correlation (Guo et al. 2019, arXiv 1903.04025): with one group plain correlation (Mayer et al. 2016, arXiv 1512.02134).
    """
    batch, channels, height, width = left_BCHW.shape
    left = left_BCHW.view(batch, groups, channels // groups, height, width)
    shifted = F.pad(right_BCHW, (disparities - 1, 0)).view(batch, groups, channels // groups, height, -1)
    slices = [
        (left * shifted[..., start : start + width]).mean(2) for start in range(disparities - 1, -1, -1)
    ]
    return torch.stack(slices, 2)


def flow_volume(first_BCHW: Tensor, second_BCHW: Tensor, radius: int) -> Tensor:
    """B x (2r+1)^2 x H x W: mean product of first at (x, y) and second at (x + u, y + v); v, then u, from -r to r; 0 beyond the border.

    Correlation (Dosovitskiy et al. 2015, arXiv 1504.06852).
    """
    height, width = first_BCHW.shape[2:]
    padded = F.pad(second_BCHW, (radius, radius, radius, radius))
    shifts = range(2 * radius + 1)
    slices = [
        (first_BCHW * padded[:, :, v : v + height, u : u + width]).mean(1) for v in shifts for u in shifts
    ]
    return torch.stack(slices, 1)


def soft_argmin(cost_BDHW: Tensor) -> Tensor:
    """B1HW: the mean disparity, 0 .. D-1, each weighed by the softmax of its negative cost (Kendall et al. 2017, arXiv 1703.04309)."""
    weights = (-cost_BDHW.float()).softmax(1)
    disparities = torch.arange(weights.shape[1], device=weights.device, dtype=weights.dtype).view(1, -1, 1, 1)
    return (weights * disparities).sum(1, keepdim=True)
