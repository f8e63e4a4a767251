"""How alike two views are, for each pixel and each of a range of shifts.

Shapes: B batch, C channels, D disparities, G groups, H W pixels of the feature maps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def disparity_volume(left_BCHW: Tensor, right_BCHW: Tensor, disparities: int, groups: int) -> Tensor:
    """Return BGDHW: how alike left at x and right at x - d are, d = 0 .. D-1; 0 beyond the border.

    Group-wise correlation (Guo et al. 2019, arXiv 1903.04025): the mean product over each group of
    channels; with one group plain correlation (Mayer et al. 2016, arXiv 1512.02134).
    """
    batch, channels, height, width = left_BCHW.shape
    group_width = channels // groups
    left = left_BCHW.view(batch, groups, group_width, height, width)
    padded = F.pad(right_BCHW, (disparities - 1, 0))
    right = padded.view(batch, groups, group_width, height, -1)
    slices = []
    for d in range(disparities):
        # Column 0 of the padded view lies disparities - 1 to the left of the image.
        start = disparities - 1 - d
        shifted = right[..., start : start + width]
        slices.append((left * shifted).mean(2))
    return torch.stack(slices, 2)


def flow_volume(first_BCHW: Tensor, second_BCHW: Tensor, radius: int) -> Tensor:
    """Return B x (2r+1)^2 x H x W: the mean product of first at (x, y) and second at (x + u, y + v).

    v, then u, go from -r to r; 0 beyond the border. Correlation: Dosovitskiy et al. 2015, arXiv
    1504.06852.
    """
    height, width = first_BCHW.shape[2:]
    padded = F.pad(second_BCHW, (radius, radius, radius, radius))
    slices = []
    for v in range(2 * radius + 1):
        for u in range(2 * radius + 1):
            shifted = padded[:, :, v : v + height, u : u + width]
            slices.append((first_BCHW * shifted).mean(1))
    return torch.stack(slices, 1)


def soft_argmin(cost_BDHW: Tensor) -> Tensor:
    """Return B1HW: the mean disparity, 0 .. D-1, each weighed by the softmax of its negative cost.

    Kendall et al. 2017, arXiv 1703.04309.
    """
    weights = (-cost_BDHW.float()).softmax(1)
    disparities = torch.arange(weights.shape[1], device=weights.device, dtype=weights.dtype)
    weighted = weights * disparities.view(1, -1, 1, 1)
    return weighted.sum(1, keepdim=True)
