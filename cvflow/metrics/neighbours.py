"""Embeddings compared with each other: all pairs, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.metrics.verification import LEVELS, STEP, Verification

UNIT = 2**20
"""The length of a vector once it is rounded.

Products stay below 2**53, where float64 holds every integer.
"""
BLOCK = 2**22
"""Similarities that are in memory at once."""
PROBES, NEAREST = 8, 5
"""Images drawn, and how many of their nearest neighbours."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Neighbours(NamedTuple):
    """What comparing all pairs gave. N images in the order of their ids.

    strangers_N: images of other identities at least as similar to an image as the most similar
    of its identity; -1 if there is no other image of it. rivals_N: the same among the gallery's
    images; -1 for those in the gallery.
    """

    strangers_N: Ints
    rivals_N: Ints
    pairs: Verification


def whole_numbers(embedding: Sequence[float]) -> Floats:
    """Return the vector at the length UNIT, rounded; 0 if it has no direction."""
    vector = np.asarray(embedding, dtype=np.float64)
    if not np.isfinite(vector).all():
        return np.zeros_like(vector)
    length = math.sqrt(math.fsum(vector * vector))
    if length == 0:
        return np.zeros_like(vector)
    return np.rint(vector * (UNIT / length))


def all_pairs(vectors_ND: Floats, identity_N: Ints) -> Neighbours:
    """Compare every image with every other, block by block: memory does not grow with the number of pairs."""
    count = len(identity_N)
    _, gallery, own_gallery_N = np.unique(identity_N, return_index=True, return_inverse=True)
    strangers_N = np.full(count, -1)
    rivals_N = np.full(count, -1)
    pairs = Verification()
    for rows in _blocks(count):
        similarity = vectors_ND[rows] @ vectors_ND.T
        same = identity_N[rows, None] == identity_N[None]
        # each pair is met from both sides
        once = np.arange(count)[None] > rows[:, None]
        pairs.add(_level(similarity), same, once)
        rivals_N[rows] = _rivals(similarity[:, gallery], own_gallery_N[rows])
        strangers_N[rows] = _strangers(similarity, same, rows)
    rivals_N[gallery] = -1
    return Neighbours(strangers_N, rivals_N, pairs)


def _rivals(in_gallery: Floats, own_gallery: Ints) -> Ints:
    """Return how many gallery images are as similar to each image as that of its identity."""
    own_similarity = in_gallery[np.arange(len(own_gallery)), own_gallery]
    as_similar = in_gallery >= own_similarity[:, None]
    count: Ints = as_similar.sum(1) - 1  # its identity's image counted itself
    return count


def _strangers(similarity: Floats, same: NDArray[np.bool_], rows: Ints) -> Ints:
    """Return how many images of other identities are as similar as the best of the identity; -1
    without one.

    similarity, same: of each image of ``rows`` to all images.
    """
    itself = (np.arange(len(rows)), rows)
    positive = same.copy()
    positive[itself] = False
    best = np.where(positive, similarity, -np.inf).max(1)
    as_similar = (similarity >= best[:, None]) & ~same
    has_positive = best > -np.inf
    return np.where(has_positive, as_similar.sum(1), -1)


def _blocks(count: int) -> Iterator[Ints]:
    """Yield the indices of the images, some at once."""
    step = max(1, BLOCK // count)
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))


def _level(products: Floats) -> Ints:
    """Return the step of a similarity on the way from -1 to 1, rounded down."""
    one = float(UNIT) ** 2  # the product of two equal vectors
    scaled = np.floor((products + one) * (STEP / one))
    return scaled.clip(0, LEVELS - 1).astype(np.int64)


def lineups(
    vectors_ND: Floats, ids: Sequence[str], identity_N: Ints, names: Sequence[str], strangers_N: Ints
) -> dict[str, Any]:
    """Return a figure of some images with their nearest neighbours. names: of the identities.

    Half of the images are such whose nearest is of another identity, if there are so many.
    """
    wrong = np.flatnonzero(strangers_N > 0)
    right = np.flatnonzero(strangers_N == 0)
    num_wrong = max(PROBES // 2, PROBES - len(right))
    num_right = max(PROBES // 2, PROBES - len(wrong))
    probes = [*spread(wrong, num_wrong), *spread(right, num_right)]

    rows = []
    for probe in probes[:PROBES]:
        row = [{"id": ids[probe], "caption": names[identity_N[probe]], "tone": ""}]
        similarity = vectors_ND @ vectors_ND[probe] / UNIT**2
        similarity[probe] = -np.inf
        nearest = np.argsort(-similarity, kind="stable")[:NEAREST]
        for i in nearest.tolist():
            caption = f"{names[identity_N[i]]} {similarity[i]:.2f}"
            tone = "good" if identity_N[i] == identity_N[probe] else "bad"
            row.append({"id": ids[i], "caption": caption, "tone": tone})
        rows.append(row)
    columns = ["image", *(str(i + 1) for i in range(NEAREST))]
    return {"figure": "lineups", "columns": columns, "rows": rows}


def spread(indices: Ints, count: int) -> list[int]:
    """Return up to ``count`` of the indices, evenly over them."""
    length = len(indices)
    return [int(indices[i * length // count]) for i in range(min(count, length))]
