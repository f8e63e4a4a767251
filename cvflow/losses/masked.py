"""Losses of maps whose truth is missing at some pixels: NaN in the truth counts for nothing.

Means are over the valid pixels of all images. Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cvflow.types import Loss


def smooth_l1(pred_BCHW: Tensor, truth_BCHW: Tensor, beta: float = 1.0) -> Loss:
    """Return Huber's loss, summed over channels, a term for each valid pixel.

    It is quadratic below ``beta`` (Girshick 2015, arXiv 1504.08083).
    """
    valid_B1HW, filled_BCHW = _valid_pixels(truth_BCHW)
    loss_BCHW = F.smooth_l1_loss(pred_BCHW, filled_BCHW, reduction="none", beta=beta)
    return Loss((loss_BCHW * valid_B1HW).sum(), valid_B1HW.sum())


def endpoint(pred_B2HW: Tensor, truth_B2HW: Tensor, softened: float = 0.01) -> Loss:
    """Return the length of the difference of two vectors, in pixels (Sun et al. 2018, arXiv
    1709.02371).

    softened: added to the squared length, so that the gradient at 0 is finite.
    """
    valid_B1HW, filled_B2HW = _valid_pixels(truth_B2HW)
    squared_B1HW = (pred_B2HW - filled_B2HW).square().sum(1, keepdim=True)
    lengths_B1HW = (squared_B1HW + softened).sqrt()
    return Loss((lengths_B1HW * valid_B1HW).sum(), valid_B1HW.sum())


def _valid_pixels(truth_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B1HW, 1.0 where every channel has a truth; the truth with 0 for NaN)."""
    valid_B1HW = ~torch.isnan(truth_BCHW).any(1, keepdim=True)
    # A NaN times 0 is still NaN, so it has to go before anything is computed.
    filled_BCHW = torch.where(valid_B1HW, truth_BCHW, 0)
    return valid_B1HW.to(truth_BCHW.dtype), filled_BCHW
