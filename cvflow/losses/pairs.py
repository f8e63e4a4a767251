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
    """The distances of pairs, and which of them are of one identity.

    distance_BM: Euclidean. genuine_BM: pairs of one identity, an anchor and itself left out.
    impostor_BM: of two identities.
    """

    distance_BM: Tensor
    genuine_BM: Tensor
    impostor_BM: Tensor


def pairs_of(
    anchors_BD: Tensor, samples_MD: Tensor, identity_B: Tensor, identity_M: Tensor, first: int = 0
) -> Pairs:
    """Return the pairs of every anchor with every sample.

    The anchors are among the samples, from index ``first`` on.
    """
    same_BM = identity_B[:, None] == identity_M[None]
    index_M = torch.arange(len(identity_M), device=identity_M.device)
    anchor_index_B = index_M[first : first + len(identity_B)]
    itself_BM = index_M[None] == anchor_index_B[:, None]
    distance_BM = distances(anchors_BD, samples_MD)
    genuine_BM = same_BM & ~itself_BM
    return Pairs(distance_BM, genuine_BM, impostor_BM=~same_BM)


def distances(a_BD: Tensor, b_MD: Tensor) -> Tensor:
    """Return B x M Euclidean distances, in full precision whatever the network ran in."""
    with torch.autocast(a_BD.device.type, enabled=False):
        a_BD = a_BD.float()
        b_MD = b_MD.float()
        # |a - b|^2 = |a|^2 + |b|^2 - 2 ab: one matrix product, no B x M x D differences in memory.
        a_squared_B1 = a_BD.square().sum(1)[:, None]
        b_squared_1M = b_MD.square().sum(1)[None]
        squared_BM = a_squared_B1 + b_squared_1M - 2 * a_BD @ b_MD.T
        return squared_BM.clamp(min=LEAST).sqrt()
