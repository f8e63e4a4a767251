"""Triplet loss with the triplets chosen inside the batch: each anchor nearer to its own identity than to any other, by a margin.

hard: an anchor's farthest image of its identity and nearest of another (Hermans, Beyer & Leibe 2017, arXiv 1703.07737: "batch hard").
semi_hard: for each genuine pair the nearest impostor that is farther than the pair is apart, else the farthest impostor
(Schroff, Kalenichenko & Philbin 2015, FaceNet, arXiv 1503.03832).
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
    """The mean over the triplets of max(0, d(anchor, own) - d(anchor, other) + margin); d between two unit vectors, 0..2.

    margin: a number; soft: ln(1 + exp(d(anchor, own) - d(anchor, other))) instead (Hermans 2017). mining: semi_hard, which trains from
    random weights; hard, for weights that are trained already: from random ones it may draw all images into one point.
    Anchors without an image of their own or of another identity in the batch are not counted.
    """

    def __init__(
        self,
        *,
        margin: Annotated[float, Field(gt=0, le=2)] | Literal["soft"] = 0.2,
        mining: Literal["hard", "semi_hard"] = "semi_hard",
    ) -> None:
        self.margin, self.mining = margin, mining

    def __call__(self, pairs: Pairs) -> dict[str, Loss]:
        own, other = hard(pairs) if self.mining == "hard" else semi_hard(pairs)
        each = F.softplus(own - other) if self.margin == "soft" else (own - other + self.margin).clamp(min=0)
        return {"loss": Loss(each.sum(), each.new_tensor(len(each)))}


def hard(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Of each anchor that has both: the greatest distance to its identity, the least to another."""
    far_B = pairs.distance_BM.masked_fill(~pairs.genuine_BM, -INFINITE).amax(1)
    near_B = pairs.distance_BM.masked_fill(~pairs.impostor_BM, INFINITE).amin(1)
    both = pairs.genuine_BM.any(1) & pairs.impostor_BM.any(1)
    return far_B[both], near_B[both]


def semi_hard(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Of each genuine pair whose anchor has an impostor: its distance, and that of the semi-hard impostor."""
    anchor, own = (pairs.genuine_BM & pairs.impostor_BM.any(1)[:, None]).nonzero(as_tuple=True)
    distance_G = pairs.distance_BM[anchor, own]
    impostor_GM, distance_GM = pairs.impostor_BM[anchor], pairs.distance_BM[anchor]
    farther_GM = distance_GM.masked_fill(~(impostor_GM & (distance_GM > distance_G[:, None])), INFINITE)
    farthest_G = distance_GM.masked_fill(~impostor_GM, -INFINITE).amax(1)
    nearest_G = farther_GM.amin(1)
    return distance_G, nearest_G.where(nearest_G < INFINITE, farthest_G)
