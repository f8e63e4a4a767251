"""How well embeddings tell identities apart: neighbours, identification by a gallery,
verification of pairs.

Similarity is the cosine of two embeddings, -1..1. Vectors are rounded to integers first: their
products then add up exactly, so that neither the order of the images, nor the division among
workers, nor the number of threads changes a bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.metrics.neighbours import Neighbours, all_pairs, lineups, whole_numbers
from cvflow.metrics.verification import Verification
from cvflow.types import Prediction

RANKS = (1, 5)
WAYS = 20
"""Identities to choose from in the one-shot score, as Lake et al. (2015, Science 350) and others count it."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class EmbeddingMetric:
    """Predictions carry ``embedding``; targets carry ``identity``, its index.

    The gallery is the first image, by id, of each identity.

    - recall_at_k: of the images whose identity has another, those with one of it among the k
      most similar of all the other images (Jegou et al. 2011, TPAMI 33(1); Oh Song et al. 2016,
      arXiv 1511.06452).
    - rank_k: of the images outside the gallery, those whose identity is among the k most
      similar in the gallery ("rank-k identification": Phillips et al. 2000, TPAMI 22(10)).
    - one_shot_20_way: the same at k = 1 with 20 identities to choose from, the mean over all
      choices of the 19 others; only if there are 20 identities.
    - verification over all pairs: see Verification.

    Among equally similar images a stranger comes first, so that a network whose answers are all
    alike scores nothing. A vector that is 0 or not finite is at similarity 0 to all. If nothing
    was counted, all is NaN.
    """

    def __init__(self, identities: Sequence[str]) -> None:
        self.identities = tuple(identities)
        self._ids: list[str] = []
        self._identity: list[int] = []
        self._vectors: list[Floats] = []
        self._neighbours: Neighbours | None = None

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Keep a batch's embeddings."""
        for prediction, target in zip(predictions, targets, strict=True):
            self._ids.append(prediction.id)
            self._identity.append(int(target["identity"]))
            self._vectors.append(whole_numbers(prediction.values["embedding"]))
        self._neighbours = None

    def state(self) -> dict[str, Any]:
        """Return everything collected so far, to be merged elsewhere."""
        return {
            "ids": list(self._ids),
            "identity": list(self._identity),
            "vectors": list(self._vectors),
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another worker collected."""
        self._ids += state["ids"]
        self._identity += state["identity"]
        self._vectors += state["vectors"]
        self._neighbours = None

    def compute(self) -> dict[str, float]:
        """Return the figures: all 0..1 but ``eer_threshold``, a similarity."""
        neighbours = self._all_pairs()
        # -1 marks images that have no answer: alone in their identity, or in the gallery.
        strangers = neighbours.strangers_N[neighbours.strangers_N >= 0]
        rivals = neighbours.rivals_N[neighbours.rivals_N >= 0]
        figures = {}
        for k in RANKS:
            figures[f"recall_at_{k}"] = _mean(strangers < k)
        for k in RANKS:
            figures[f"rank_{k}"] = _mean(rivals < k)
        num_identities = len(set(self._identity))
        if num_identities >= WAYS:
            figures[f"one_shot_{WAYS}_way"] = _mean(chances(rivals, num_identities - 1, WAYS - 1))
        return figures | neighbours.pairs.compute()

    def details(self) -> dict[str, Any]:
        """Return figures: ROC, the similarities of both kinds of pairs, some images with their neighbours."""
        neighbours = self._all_pairs()
        if not neighbours.pairs.has_both:
            return {}
        vectors, identity = self._sorted()
        ids = [self._ids[i] for i in self._order()]
        drawn = lineups(vectors, ids, identity, self.identities, neighbours.strangers_N)
        return {**neighbours.pairs.details(), "nearest_neighbours": drawn}

    def _order(self) -> Ints:
        order = sorted(range(len(self._ids)), key=self._ids.__getitem__)
        return np.array(order, dtype=np.int64)

    def _sorted(self) -> tuple[Floats, Ints]:
        """Return (N x D whole numbers, N identities), in the order of the ids."""
        order = self._order()
        vectors = np.stack(self._vectors)
        identity = np.array(self._identity, dtype=np.int64)
        return vectors[order], identity[order]

    def _all_pairs(self) -> Neighbours:
        if self._neighbours is None:
            self._neighbours = all_pairs(*self._sorted()) if self._ids else _no_pairs()
        return self._neighbours


def _no_pairs() -> Neighbours:
    none = np.zeros(0, np.int64)
    return Neighbours(none, none, Verification())


def chances(rivals: Ints, others: int, drawn: int) -> Floats:
    """Return how likely none of the rivals is among those drawn of the others.

    That is C(others - rivals, drawn) / C(others, drawn).
    """
    draws = math.comb(others, drawn)
    table = []
    for count in range(others + 1):
        table.append(math.comb(others - count, drawn) / draws)
    return np.array(table)[rivals]


def _mean(values: NDArray[Any]) -> float:
    if len(values) == 0:
        return math.nan
    return math.fsum(values.tolist()) / len(values)
