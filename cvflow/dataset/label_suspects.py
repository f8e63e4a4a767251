"""Images whose label their nearest neighbours contradict, detected without a model.

Leave-one-out k-nearest-neighbour vote (Wilson, "Asymptotic properties of nearest neighbor rules using edited
data", 1972) on thumbnails. If thumbnails do not tell the classes apart, nothing is named.
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
"""Images compared with all others at once."""


@dataclass(frozen=True)
class Suspect:
    """index: of the image. other: the label of most of its neighbours. votes: how many have it."""

    index: int
    other: int
    votes: int


@dataclass(frozen=True)
class Vote:
    """accuracy: of the vote, 0..1, over the images compared; None if there were too few."""

    compared: int
    accuracy: float | None
    suspects: Sequence[Suspect]


def vote(thumbnails_ND: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> Vote:
    """Return how well the neighbours' labels agree with each image's own, and where they do not.

    D * 255^2 must be below 2^24, so that float32 sums are exact: the same result on any machine.
    A suspect has no neighbour of its own label, though its class has more than NEIGHBOURS images.
    """
    count = len(labels_N)
    if count <= 2 * NEIGHBOURS or len(np.unique(labels_N)) < 2:
        return Vote(count, None, ())
    votes_NC = _votes(thumbnails_ND, labels_N)
    winners_N = votes_NC.argmax(1)
    accuracy = float((winners_N == labels_N).mean())
    if accuracy < LEAST_ACCURACY:
        return Vote(count, accuracy, ())
    suspects = _suspects(votes_NC, winners_N, labels_N)
    return Vote(count, accuracy, suspects)


def _suspects(
    votes_NC: NDArray[np.int64], winners_N: NDArray[np.int64], labels_N: NDArray[np.int64]
) -> list[Suspect]:
    """Return the images that no neighbour agrees with, in order."""
    supported_N = votes_NC[np.arange(len(labels_N)), labels_N] > 0
    class_sizes_N = np.bincount(labels_N)[labels_N]
    # In a smaller class an image may lack neighbours of its label although the label is right.
    doubted_N = ~supported_N & (class_sizes_N > NEIGHBOURS)
    suspects = []
    for index in np.flatnonzero(doubted_N).tolist():
        other = int(winners_N[index])
        votes = int(votes_NC[index, other])
        suspects.append(Suspect(index, other, votes))
    return suspects


def _votes(thumbnails_ND: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return NxC, how many of the nearest others have each label, by squared distance.

    Others that are as far away as the tenth count too.
    """
    features_ND = thumbnails_ND.astype(np.float32)
    squares_N = np.einsum("nd,nd->n", features_ND, features_ND).astype(np.int32)
    one_hot_NC = np.eye(labels_N.max() + 1, dtype=np.float32)[labels_N]
    votes_NC = np.empty(one_hot_NC.shape, dtype=np.int64)
    for start in range(0, len(features_ND), _BLOCK):
        block = slice(start, start + _BLOCK)
        products_BN = features_ND[block] @ features_ND.T
        # The image's own square is left out: it is the same along a row.
        distances_BN = squares_N - 2 * products_BN.astype(np.int32)
        _exclude_self(distances_BN, start)
        nearest_BN = np.partition(distances_BN, NEIGHBOURS - 1)
        tenth_B1 = nearest_BN[:, NEIGHBOURS - 1 : NEIGHBOURS]
        is_neighbour_BN = (distances_BN <= tenth_B1).astype(np.float32)
        votes_NC[block] = is_neighbour_BN @ one_hot_NC
    return votes_NC


def _exclude_self(distances_BN: NDArray[np.int32], start: int) -> None:
    """Make each image of a block infinitely far from itself. start: index of the block's first image."""
    rows = np.arange(len(distances_BN))
    distances_BN[rows, start + rows] = np.iinfo(np.int32).max
