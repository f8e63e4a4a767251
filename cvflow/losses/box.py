"""Losses of one box an image.

Boxes are xyxy, normalised to 0..1 of the image's width and height. A ground-truth box without
area counts for nothing.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from cvflow.types import Loss

BoxLoss = Literal["smooth_l1", "giou"]
BETA = 0.1
"""Where smooth L1 turns from square to linear: differences of a tenth of the image."""


def box_loss(kind: BoxLoss, pred_boxes_B4: Tensor, gt_boxes_B4: Tensor) -> Loss:
    """Return the loss of one box an image, a term for each image.

    smooth_l1: the mean over the four edges (Girshick 2015, arXiv 1504.08083). giou: 1 - GIoU
    (Rezatofighi et al. 2019, arXiv 1902.09630).
    """
    sides_B2 = gt_boxes_B4[:, 2:] - gt_boxes_B4[:, :2]
    valid_B = (sides_B2 > 0).all(1)
    # Mixed precision would round normalised edges to more than a pixel.
    pred_boxes_B4 = pred_boxes_B4.float()
    gt_boxes_B4 = gt_boxes_B4.float()
    if kind == "giou":
        from torchvision.ops import generalized_box_iou_loss

        loss_B = generalized_box_iou_loss(pred_boxes_B4, gt_boxes_B4)
    else:
        loss_B4 = F.smooth_l1_loss(pred_boxes_B4, gt_boxes_B4, reduction="none", beta=BETA)
        loss_B = loss_B4.mean(1) / BETA
    return Loss((loss_B * valid_B).sum(), valid_B.sum().to(loss_B.dtype))
