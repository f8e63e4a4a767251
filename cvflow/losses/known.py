"""Losses of maps that are known at some pixels only: NaN in the truth counts for nothing. Means over the known pixels of all images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cvflow.types import Loss


def smooth_l1(answer_BCHW: Tensor, truth_BCHW: Tensor, beta: float = 1.0) -> Loss:
    """Huber's loss, quadratic below ``beta`` (Girshick 2015, arXiv 1504.08083), summed over channels, a term each known pixel."""
    known_B1HW, truth = _known(truth_BCHW)
    each = F.smooth_l1_loss(answer_BCHW, truth, reduction="none", beta=beta)
    return Loss((each * known_B1HW).sum(), known_B1HW.sum())


def endpoint(answer_B2HW: Tensor, truth_B2HW: Tensor, softened: float = 0.01) -> Loss:
    """Length of the difference of two vectors, pixels (Sun et al. 2018, arXiv 1709.02371).

    softened: added to the squared length, so that the gradient at 0 is finite.
    """
    known_B1HW, truth = _known(truth_B2HW)
    lengths = ((answer_B2HW - truth).square().sum(1, keepdim=True) + softened).sqrt()
    return Loss((lengths * known_B1HW).sum(), known_B1HW.sum())


def _known(truth_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """(B1HW, 1.0 where every channel is known; the truth with 0 for NaN)"""
    known = ~torch.isnan(truth_BCHW).any(1, keepdim=True)
    return known.to(truth_BCHW.dtype), torch.where(known, truth_BCHW, 0)
