"""The pairs of a batch by their identities: what metric losses are made of.

Shapes: B anchors, M samples they are compared with, D dimensions of an embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST = 1e-12
"""Squared distances below this count as this: the root of 0 has no gradient."""


class Pairs(NamedTuple):
    """distance_BM: Euclidean. genuine_BM: of one identity, an anchor and itself left out; impostor_BM: of two identities."""

    distance_BM: Tensor
    genuine_BM: Tensor
    impostor_BM: Tensor


def pairs_of(
    anchors_BD: Tensor, others_MD: Tensor, identity_B: Tensor, identity_M: Tensor, first: int = 0
) -> Pairs:
    """Every anchor with every other. The anchors are among the others, from place ``first`` on."""
    same_BM = identity_B[:, None] == identity_M[None]
    places = torch.arange(len(identity_M), device=identity_M.device)
    itself_BM = places[None] == places[first : first + len(identity_B), None]
    return Pairs(distances(anchors_BD, others_MD), same_BM & ~itself_BM, ~same_BM)


def distances(a_BD: Tensor, b_MD: Tensor) -> Tensor:
    """B x M Euclidean distances, in full precision whatever the network ran in."""
    with torch.autocast(a_BD.device.type, enabled=False):
        a_BD, b_MD = a_BD.float(), b_MD.float()
        squared_BM = a_BD.square().sum(1)[:, None] + b_MD.square().sum(1)[None] - 2 * a_BD @ b_MD.T
        return squared_BM.clamp(min=LEAST).sqrt()
