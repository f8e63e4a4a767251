"""The sizes of the images of a dataset, in a few bytes each."""

from __future__ import annotations

from array import array
from collections import Counter

import numpy as np

MOST_LISTED = 10
"""Sizes that are listed with their counts."""


class ImageSizes:
    """Collects widths and heights, in pixels."""

    def __init__(self) -> None:
        # Arrays of machine numbers, not lists: memory has to hold them for every record.
        self._widths = array("I")
        self._heights = array("I")

    def add(self, width: int, height: int) -> None:
        """Count one image."""
        self._widths.append(width)
        self._heights.append(height)

    def facts(self) -> dict[str, object]:
        """Return the spread of widths and heights, the most frequent sizes, and how many different ones."""
        counts = Counter(zip(self._widths, self._heights, strict=True))
        return {
            "width": _spread(self._widths),
            "height": _spread(self._heights),
            "sizes": _most_frequent(counts),
            "different_sizes": len(counts),
        }


def _most_frequent(counts: Counter[tuple[int, int]]) -> list[list[int]]:
    """Return [width, height, count] of the most frequent sizes; equally frequent ones by size."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    sizes = []
    for (width, height), count in ordered[:MOST_LISTED]:
        sizes.append([width, height, count])
    return sizes


def _spread(lengths: array[int]) -> dict[str, float] | None:
    """Return least, median, mean and greatest of lengths in pixels; None if there are none."""
    if not lengths:
        return None
    values = np.asarray(lengths)
    return {
        "least": int(values.min()),
        "median": float(np.median(values)),
        "mean": round(float(values.mean()), 2),
        "greatest": int(values.max()),
    }
