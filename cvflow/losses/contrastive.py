"""Contrastive loss: images of one identity attract, others repel up to a margin.

Hadsell, Chopra & LeCun 2006, CVPR.

The trick: two towers that share their weights (Bromley et al. 1993, NIPS: "Siamese") are one
network, run over a batch; every pair of the batch counts.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cvflow.losses.pairs import Pairs
from cvflow.registry import register
from cvflow.types import Loss


@register("pair_loss", "contrastive")
class Contrastive:
    """``genuine_loss``, the mean of d^2 / 2, and ``impostor_loss``, the mean of max(0, margin -
    d)^2 / 2.

    d is the distance of two unit vectors, 0..2. Each has its own mean, as most pairs of a batch
    are impostors. margin: the distance from which on two identities are far enough apart.
    """

    def __init__(self, *, margin: Annotated[float, Field(gt=0, le=2)] = 1.0) -> None:
        self.margin = margin

    def __call__(self, pairs: Pairs) -> dict[str, Loss]:
        attraction_BM = pairs.distance_BM.square() / 2
        missing_BM = (self.margin - pairs.distance_BM).clamp(min=0)
        repulsion_BM = missing_BM.square() / 2
        # Sums over masks, not over picked pairs: the number of pairs stays on the device.
        genuine = (attraction_BM * pairs.genuine_BM).sum()
        impostor = (repulsion_BM * pairs.impostor_BM).sum()
        return {
            "genuine_loss": Loss(genuine, pairs.genuine_BM.sum()),
            "impostor_loss": Loss(impostor, pairs.impostor_BM.sum()),
        }
