"""Triplet loss: each anchor nearer to its positives than to its negatives, by a margin.

A positive is another image of the anchor's identity, a negative one of another identity. The
triplets are chosen inside the batch.
hard: an anchor's farthest positive and nearest negative (Hermans, Beyer & Leibe 2017, arXiv
1703.07737: "batch hard").
semi_hard: for each genuine pair the nearest negative that is farther than the pair is apart, else
the farthest negative (Schroff, Kalenichenko & Philbin 2015, FaceNet, arXiv 1503.03832).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from cvflow.losses.pairs import Pairs
from cvflow.registry import register
from cvflow.types import Loss

INFINITE = float("inf")


@register("pair_loss", "triplet")
class Triplet:
    """The mean over the triplets of max(0, d(anchor, positive) - d(anchor, negative) + margin).

    d is the distance of two unit vectors, 0..2.
    margin: a number; soft: ln(1 + exp(d(anchor, positive) - d(anchor, negative))) instead
    (Hermans 2017). mining: semi_hard, which trains from random weights; hard, for weights that
    are trained already: from random ones it may draw all images into one point. Anchors without
    a positive or a negative in the batch are not counted.
    """

    def __init__(
        self,
        *,
        margin: Annotated[float, Field(gt=0, le=2)] | Literal["soft"] = 0.2,
        mining: Literal["hard", "semi_hard"] = "semi_hard",
    ) -> None:
        self.margin = margin
        self.mining = mining

    def __call__(self, pairs: Pairs) -> dict[str, Loss]:
        choose = hard if self.mining == "hard" else semi_hard
        positive, negative = choose(pairs)
        losses = self._losses(positive - negative)
        return {"loss": Loss(losses.sum(), losses.new_tensor(len(losses)))}

    def _losses(self, excess: Tensor) -> Tensor:
        """Return the loss of each triplet. excess: how much farther the positive is."""
        if self.margin == "soft":
            return F.softplus(excess)
        return (excess + self.margin).clamp(min=0)


def hard(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return (distance of the farthest positive, of the nearest negative) for each anchor that has both."""
    positives_BM = pairs.distance_BM.masked_fill(~pairs.genuine_BM, -INFINITE)
    negatives_BM = pairs.distance_BM.masked_fill(~pairs.impostor_BM, INFINITE)
    farthest_B = positives_BM.amax(1)
    nearest_B = negatives_BM.amin(1)
    has_both_B = pairs.genuine_BM.any(1) & pairs.impostor_BM.any(1)
    return farthest_B[has_both_B], nearest_B[has_both_B]


def semi_hard(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return (distance of the pair, of its semi-hard negative), each G.

    G genuine pairs: those whose anchor has a negative.
    """
    has_negative_B1 = pairs.impostor_BM.any(1)[:, None]
    anchor_G, positive_G = (pairs.genuine_BM & has_negative_B1).nonzero(as_tuple=True)
    distance_G = pairs.distance_BM[anchor_G, positive_G]

    impostor_GM = pairs.impostor_BM[anchor_G]
    distance_GM = pairs.distance_BM[anchor_G]
    semi_hard_GM = impostor_GM & (distance_GM > distance_G[:, None])
    nearest_G = distance_GM.masked_fill(~semi_hard_GM, INFINITE).amin(1)
    # Where no negative is farther than the pair, the farthest one is the easiest that is left.
    farthest_G = distance_GM.masked_fill(~impostor_GM, -INFINITE).amax(1)
    return distance_G, nearest_G.where(nearest_G < INFINITE, farthest_G)
