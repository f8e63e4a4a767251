"""Losses of labelled pixels; those marked VOID count for nothing. Shapes: B batch, C classes, H W pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cvflow.ops.labels import VOID
from cvflow.types import Loss


def pixel_cross_entropy(logits_BCHW: Tensor, mask_BHW: Tensor, weight_C: Tensor | None = None) -> Loss:
    """Return the cross entropy in nats, a term for each pixel.

    mask: class indices. weight_C: how much a pixel of each class counts.
    """
    labels = mask_BHW.long()
    logits, targets = logits_BCHW, labels
    if logits_BCHW.is_cuda:
        # CUDA has no deterministic kernel for maps, but one for rows.
        logits = logits_BCHW.permute(0, 2, 3, 1).flatten(0, 2)
        targets = labels.flatten()
    total = F.cross_entropy(logits.float(), targets, weight_C, ignore_index=VOID, reduction="sum")
    valid_labels = labels[labels != VOID]
    count = valid_labels.numel() if weight_C is None else weight_C[valid_labels].sum()
    return Loss(total, torch.as_tensor(count, dtype=total.dtype, device=total.device))


def dice(logits_BCHW: Tensor, mask_BHW: Tensor) -> Loss:
    """Return 1 - Dice's overlap of probabilities and truth, a term for each class and image
    that shows it.

    The overlap is 2 |A B| / (|A| + |B|) (Milletari et al. 2016, arXiv 1606.04797): a small
    class counts as much as a large one.
    """
    num_classes = logits_BCHW.shape[1]
    valid_B1HW = (mask_BHW != VOID)[:, None]
    # VOID is no class index; where it stands the one-hot is masked out anyway.
    labels = mask_BHW.long().clamp(max=num_classes - 1)
    truth_BCHW = F.one_hot(labels, num_classes).permute(0, 3, 1, 2) * valid_B1HW
    probs_BCHW = logits_BCHW.float().softmax(1) * valid_B1HW

    common_BC = (probs_BCHW * truth_BCHW).sum((2, 3))
    sizes_BC = (probs_BCHW + truth_BCHW).sum((2, 3))
    present_BC = truth_BCHW.any(3).any(2)
    loss_BC = 1 - 2 * common_BC / sizes_BC.clamp(min=1e-6)
    return Loss((loss_BC * present_BC).sum(), present_BC.sum().to(probs_BCHW.dtype))
