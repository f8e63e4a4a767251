"""Whether an answer given with confidence 0.8 is right 8 times in 10: Guo et al. 2017, arXiv 1706.04599."""

from __future__ import annotations

import math
from collections.abc import Sequence

BINS = 15
UNIT = 2**52
"""Confidences are summed as whole multiples of 1 / UNIT: exact, so in any order and division the same."""


class Calibration:
    """Answers by confidence in BINS bins of equal width, bin i over (i / BINS, (i + 1) / BINS]."""

    def __init__(self) -> None:
        self._bins = [[0, 0, 0] for _ in range(BINS)]  # samples, right ones, summed confidence / UNIT

    def add(self, confidence: float, right: bool) -> None:
        """confidence: 0..1, of the class answered; NaN counts as 1: a diverged model is sure of itself."""
        sure = 1.0 if math.isnan(confidence) else min(1.0, max(0.0, confidence))
        found = self._bins[max(0, math.ceil(sure * BINS) - 1)]
        for i, value in enumerate((1, int(right), round(sure * UNIT))):
            found[i] += value

    def state(self) -> list[list[int]]:
        return [list(found) for found in self._bins]

    def merge(self, state: Sequence[Sequence[int]]) -> None:
        self._bins = [
            [a + b for a, b in zip(*pair, strict=True)] for pair in zip(self._bins, state, strict=True)
        ]

    def bins(self) -> list[list[float | None]]:
        """[samples, mean confidence, accuracy] of each bin; None where it is empty."""
        return [[n, total / UNIT / n, right / n] if n else [0, None, None] for n, right, total in self._bins]

    def error(self) -> float | None:
        """The expected calibration error: the gap between confidence and accuracy, averaged over all samples."""
        count = sum(n for n, *_ in self._bins)
        return (
            math.fsum(abs(right - total / UNIT) for _, right, total in self._bins) / count if count else None
        )
