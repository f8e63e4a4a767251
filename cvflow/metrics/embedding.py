"""How well embeddings tell identities apart: nearest neighbours, identification by a gallery, verification of pairs.

Similarity is the cosine of two embeddings, -1..1. Vectors are rounded to integers first: their products then add up exactly, so
that neither the order of the images, nor the division among workers, nor the number of threads changes a bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.metrics.verification import LEVELS, STEP, Verification
from cvflow.types import Prediction

UNIT = 2**20
"""The length of a vector once it is rounded. Products stay below 2**53, where float64 holds every integer."""
BLOCK = 2**22
"""Similarities that are in memory at once."""
RANKS = (1, 5)
WAYS = 20
"""Identities to choose from in the one-shot score, as Lake et al. (2015, Science 350) and those after them count it."""
PROBES, NEAREST = 8, 5
"""Images shown with their nearest neighbours."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Found(NamedTuple):
    """What all the pairs gave. N images in the order of their ids.

    strangers_N: images of other identities at least as similar to an image as the most similar of its own; -1 where it has no other.
    rivals_N: the same among the gallery's images; -1 for those in the gallery.
    """

    strangers_N: Ints
    rivals_N: Ints
    pairs: Verification


class EmbeddingMetric:
    """Predictions carry ``embedding``; targets carry ``identity``, its index. The gallery is the first image, by id, of each identity.

    - recall_at_k: of the images whose identity has another, those with one of it among the k most similar of all the other images
      (Jegou et al. 2011, TPAMI 33(1); Oh Song et al. 2016, arXiv 1511.06452).
    - rank_k: of the images outside the gallery, those whose identity is among the k most similar in the gallery ("rank-k
      identification": Phillips et al. 2000, TPAMI 22(10)).
    - one_shot_20_way: the same at k = 1 with 20 identities to choose from, the mean over all choices of the 19 others; where there are 20.
    - verification over all pairs: see Verification.

    Among equally similar images a stranger comes first, so that a network whose answers are all alike scores nothing.
    A vector that is 0 or not finite is at similarity 0 to all. Of nothing, all is NaN.
    """

    def __init__(self, identities: Sequence[str]) -> None:
        self.identities = tuple(identities)
        self._ids: list[str] = []
        self._identity: list[int] = []
        self._vectors: list[Floats] = []
        self._found: Found | None = None

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            self._ids.append(prediction.id)
            self._identity.append(int(target["identity"]))
            self._vectors.append(whole_numbers(prediction.values["embedding"]))
        self._found = None

    def state(self) -> dict[str, Any]:
        return {"ids": list(self._ids), "identity": list(self._identity), "vectors": list(self._vectors)}

    def merge(self, state: Mapping[str, Any]) -> None:
        self._ids += state["ids"]
        self._identity += state["identity"]
        self._vectors += state["vectors"]
        self._found = None

    def compute(self) -> dict[str, float]:
        """All 0..1 but ``eer_threshold``, a similarity."""
        found = self._all_pairs()
        strangers, rivals = found.strangers_N[found.strangers_N >= 0], found.rivals_N[found.rivals_N >= 0]
        ranked = {f"recall_at_{k}": _mean(strangers < k) for k in RANKS} | {
            f"rank_{k}": _mean(rivals < k) for k in RANKS
        }
        identities = len(set(self._identity))
        if identities >= WAYS:
            ranked[f"one_shot_{WAYS}_way"] = _mean(chances(rivals, identities - 1, WAYS - 1))
        return ranked | found.pairs.compute()

    def details(self) -> dict[str, Any]:
        """ROC, the similarities of both kinds of pairs, some images with their nearest neighbours."""
        found = self._all_pairs()
        if not found.pairs.has_both:
            return {}
        return {**found.pairs.details(), "nearest_neighbours": self._neighbours(found)}

    def _order(self) -> Ints:
        return np.array(sorted(range(len(self._ids)), key=self._ids.__getitem__), dtype=np.int64)

    def _sorted(self) -> tuple[Floats, Ints]:
        """(N x D whole numbers, N identities), in the order of the ids."""
        order = self._order()
        return np.stack(self._vectors)[order], np.array(self._identity, dtype=np.int64)[order]

    def _all_pairs(self) -> Found:
        if self._found is None:
            self._found = (
                all_pairs(*self._sorted())
                if self._ids
                else Found(*(np.zeros(0, np.int64),) * 2, Verification())
            )
        return self._found

    def _neighbours(self, found: Found) -> dict[str, Any]:
        """A figure: half of the images are such whose nearest is of another identity, where there are so many."""
        vectors, identity = self._sorted()
        ids = [self._ids[i] for i in self._order()]
        wrong, right = np.flatnonzero(found.strangers_N > 0), np.flatnonzero(found.strangers_N == 0)
        shown = [
            *spread(wrong, max(PROBES // 2, PROBES - len(right))),
            *spread(right, max(PROBES // 2, PROBES - len(wrong))),
        ]
        rows = []
        for probe in shown[:PROBES]:
            similarity = vectors @ vectors[probe] / UNIT**2
            similarity[probe] = -np.inf
            nearest = np.argsort(-similarity, kind="stable")[:NEAREST]
            items = [
                {
                    "id": ids[i],
                    "caption": f"{self.identities[identity[i]]} {similarity[i]:.2f}",
                    "tone": "good" if own else "bad",
                }
                for i in nearest.tolist()
                for own in (identity[i] == identity[probe],)
            ]
            rows.append([{"id": ids[probe], "caption": self.identities[identity[probe]], "tone": ""}, *items])
        return {
            "figure": "lineups",
            "columns": ["image", *(str(i + 1) for i in range(NEAREST))],
            "rows": rows,
        }


def whole_numbers(embedding: Sequence[float]) -> Floats:
    """The vector at the length UNIT, rounded; 0 where it has no direction."""
    vector = np.asarray(embedding, dtype=np.float64)
    length = math.sqrt(math.fsum(vector * vector)) if np.isfinite(vector).all() else 0.0
    return np.rint(vector * (UNIT / length)) if length > 0 else np.zeros_like(vector)


def all_pairs(vectors_ND: Floats, identity_N: Ints) -> Found:
    """Block by block: memory does not grow with the number of pairs."""
    count = len(identity_N)
    _, gallery, own_N = np.unique(identity_N, return_index=True, return_inverse=True)
    strangers, rivals, pairs = np.full(count, -1), np.full(count, -1), Verification()
    for rows in _blocks(count):
        similarity = vectors_ND[rows] @ vectors_ND.T
        same = identity_N[rows, None] == identity_N[None]
        pairs.add(_level(similarity), same, np.arange(count)[None] > rows[:, None])  # each pair once
        in_gallery = similarity[:, gallery]
        own = in_gallery[np.arange(len(rows)), own_N[rows]]
        rivals[rows] = (in_gallery >= own[:, None]).sum(1) - 1
        same[np.arange(len(rows)), rows] = False
        best = np.where(same, similarity, -np.inf).max(1)
        strangers[rows] = np.where(best > -np.inf, ((similarity >= best[:, None]) & ~same).sum(1), -1)
        strangers[rows] -= (best > -np.inf) & (similarity[np.arange(len(rows)), rows] >= best)  # itself
    rivals[gallery] = -1
    return Found(strangers, rivals, pairs)


def _blocks(count: int) -> Iterator[Ints]:
    step = max(1, BLOCK // count)
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))


def _level(products: Floats) -> Ints:
    """The step of a similarity on the way from -1 to 1, rounded down."""
    scaled = np.floor((products + float(UNIT) ** 2) * (STEP / float(UNIT) ** 2))
    return scaled.clip(0, LEVELS - 1).astype(np.int64)


def chances(rivals: Ints, others: int, drawn: int) -> Floats:
    """How likely none of the rivals is among those drawn of the others: C(others - rivals, drawn) / C(others, drawn)."""
    table = np.array([math.comb(others - r, drawn) / math.comb(others, drawn) for r in range(others + 1)])
    return table[rivals]


def spread(places: Ints, count: int) -> list[int]:
    """Up to ``count`` of the places, evenly over them."""
    picked: list[int] = (
        places[[i * len(places) // count for i in range(min(count, len(places)))]].tolist()
        if len(places)
        else []
    )
    return picked


def _mean(values: NDArray[Any]) -> float:
    return math.fsum(values.tolist()) / len(values) if len(values) else math.nan
