"""Losses of labelled pixels; those marked VOID count for nothing. Shapes: B batch, C classes, H W pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cvflow.ops.labels import VOID
from cvflow.types import Loss


def pixel_cross_entropy(logits_BCHW: Tensor, mask_BHW: Tensor, weight_C: Tensor | None = None) -> Loss:
    """A term each pixel, in nats; weight_C: how much a pixel of each class counts. mask: class indices."""
    labels = mask_BHW.long()
    if logits_BCHW.is_cuda:  # of maps, CUDA has no deterministic kernel
        logits, flat = logits_BCHW.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    else:
        logits, flat = logits_BCHW, labels
    total = F.cross_entropy(logits.float(), flat, weight_C, ignore_index=VOID, reduction="sum")
    known = labels[labels != VOID]
    count = known.numel() if weight_C is None else weight_C[known].sum()
    return Loss(total, torch.as_tensor(count, dtype=total.dtype, device=total.device))


def dice(logits_BCHW: Tensor, mask_BHW: Tensor) -> Loss:
    """1 - the overlap 2 |A B| / (|A| + |B|) of probabilities and truth, a term each class and image that shows it (Milletari et
    al. 2016, arXiv 1606.04797): a small class counts as much as a large one.
    """  # fmt: skip
    known_B1HW = (mask_BHW != VOID)[:, None]
    truth = (
        F.one_hot(mask_BHW.long().clamp(max=logits_BCHW.shape[1] - 1), logits_BCHW.shape[1]).permute(
            0, 3, 1, 2
        )
        * known_B1HW
    )
    said = logits_BCHW.float().softmax(1) * known_B1HW
    common, sizes = (said * truth).sum((2, 3)), (said + truth).sum((2, 3))
    there_BC = truth.any(3).any(2)
    return Loss(((1 - 2 * common / sizes.clamp(min=1e-6)) * there_BC).sum(), there_BC.sum().to(said.dtype))
