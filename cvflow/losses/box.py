"""Losses of one box an image. Boxes xyxy, normalised: 0..1 of the image's width and height. A true box without area counts for nothing."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from cvflow.types import Loss

BoxLoss = Literal["smooth_l1", "giou"]
BETA = 0.1
"""Where smooth L1 turns from square to linear: differences of a tenth of the image."""


def box_loss(kind: BoxLoss, said_B4: Tensor, true_B4: Tensor) -> Loss:
    """smooth_l1: of the edges, their mean (Girshick 2015, arXiv 1504.08083). giou: 1 - GIoU (Rezatofighi et al. 2019, arXiv 1902.09630)."""
    there_B = ((true_B4[:, 2:] - true_B4[:, :2]) > 0).all(1)
    said_B4, true_B4 = said_B4.float(), true_B4.float()
    if kind == "giou":
        from torchvision.ops import generalized_box_iou_loss

        each_B = generalized_box_iou_loss(said_B4, true_B4)
    else:
        each_B = F.smooth_l1_loss(said_B4, true_B4, reduction="none", beta=BETA).mean(1) / BETA
    return Loss((each_B * there_B).sum(), there_B.sum().to(each_B.dtype))
