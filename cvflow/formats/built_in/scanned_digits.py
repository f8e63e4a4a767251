"""scikit-learn's 1,797 scans of handwritten digits, divided among the splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cvflow.formats.built_in.integer_stream import Ints
from cvflow.types import Split

PARTS: dict[Split, slice] = {
    "train": slice(0, 1197),
    "val": slice(1197, 1497),
    "test": slice(1497, None),
}
"""The scans of each split. Neighbouring scans are mostly by one writer, so a split is a stretch."""
SPLIT_CYCLE: tuple[Split, ...] = ("train", "train", "train", "train", "val", "test")
"""The splits of made items 0, 1, 2, ..., repeated."""


def split_of(number: int) -> Split:
    """Return the split of the item with this number."""
    turn = number % len(SPLIT_CYCLE)
    return SPLIT_CYCLE[turn]


class Scans(NamedTuple):
    """The scans of one split. glyphs: N x 8 x 8, 0..16. names: N, which digit each is, 0..9."""

    glyphs: Ints
    names: list[int]


def scans_by_split() -> Iterator[tuple[Split, Scans]]:
    """Yield each split with its scans."""
    # Imported here, so that listing the formats does not import scikit-learn.
    from sklearn.datasets import load_digits

    data = load_digits()
    images = data.images.astype(np.int64)
    for split, part in PARTS.items():
        names = data.target[part].tolist()
        yield split, Scans(images[part], names)
