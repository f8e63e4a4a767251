"""Images whose label their nearest neighbours contradict, found without a model.

Leave-one-out k-nearest-neighbour vote (Wilson, "Asymptotic properties of nearest neighbor rules using edited data", 1972)
on thumbnails. It says nothing where thumbnails do not tell the classes apart: then none is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
LEAST_ACCURACY = 0.7
"""Share of images that the vote must get right before its doubts are worth a look."""
_BLOCK = 256


@dataclass(frozen=True)
class Suspect:
    """index: of the image. other: the label of most of its neighbours. votes: how many have it."""

    index: int
    other: int
    votes: int


@dataclass(frozen=True)
class Vote:
    """accuracy: of the vote, 0..1, over the images compared; None where too few were."""

    compared: int
    accuracy: float | None
    suspects: Sequence[Suspect]

    @property
    def told_apart(self) -> bool:
        return self.accuracy is not None and self.accuracy >= LEAST_ACCURACY


def vote(thumbnails: NDArray[np.uint8], labels: NDArray[np.int64]) -> Vote:
    """thumbnails: N x D, D * 255^2 below 2^24, so that float32 sums are exact: the same result on any machine.

    A suspect has no neighbour of its own label, though its class has more than NEIGHBOURS images here.
    """
    count = len(labels)
    if count <= 2 * NEIGHBOURS or len(np.unique(labels)) < 2:
        return Vote(count, None, ())
    votes = _votes(thumbnails, labels)
    winners, own = votes.argmax(1), votes[np.arange(count), labels]
    accuracy = float((winners == labels).mean())
    if accuracy < LEAST_ACCURACY:
        return Vote(count, accuracy, ())
    doubted = (own == 0) & (np.bincount(labels)[labels] > NEIGHBOURS)
    suspects = [Suspect(int(i), int(winners[i]), int(votes[i].max())) for i in np.flatnonzero(doubted)]
    return Vote(count, accuracy, suspects)


def _votes(thumbnails: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """N x classes: how many of the nearest others have each label, by squared distance; those as far as the tenth count too."""
    x = thumbnails.astype(np.float32)
    squares = np.einsum("nd,nd->n", x, x).astype(np.int32)
    one_hot = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    votes = np.empty(one_hot.shape, dtype=np.int64)
    for start in range(0, len(x), _BLOCK):
        block = slice(start, start + _BLOCK)
        far = squares - 2 * (x[block] @ x.T).astype(
            np.int32
        )  # less the own square, which is the same along a row
        far[np.arange(len(far)), np.arange(len(x))[block]] = np.iinfo(np.int32).max
        tenth = np.partition(far, NEIGHBOURS - 1)[:, NEIGHBOURS - 1 : NEIGHBOURS]
        votes[block] = (far <= tenth).astype(np.float32) @ one_hot
    return votes
