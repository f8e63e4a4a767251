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
        # Of each bin: samples, right ones, summed confidence in units of 1 / UNIT.
        self._bins = [[0, 0, 0] for _ in range(BINS)]

    def add(self, confidence: float, right: bool) -> None:
        """Count an answer.

        confidence: 0..1, of the class answered; NaN counts as 1: a diverged model is sure of
        itself.
        """
        if math.isnan(confidence):
            confidence = 1.0
        confidence = min(1.0, max(0.0, confidence))
        index = max(0, math.ceil(confidence * BINS) - 1)
        counts = self._bins[index]
        counts[0] += 1
        counts[1] += int(right)
        counts[2] += round(confidence * UNIT)

    def state(self) -> list[list[int]]:
        """Return the counts of each bin."""
        return [list(counts) for counts in self._bins]

    def merge(self, state: Sequence[Sequence[int]]) -> None:
        """Add the counts of another worker."""
        for counts, more in zip(self._bins, state, strict=True):
            for i, value in enumerate(more):
                counts[i] += value

    def bins(self) -> list[list[float | None]]:
        """Return [samples, mean confidence, accuracy] of each bin; None where it is empty."""
        rows: list[list[float | None]] = []
        for count, right, total in self._bins:
            if count == 0:
                rows.append([0, None, None])
                continue
            confidence = total / UNIT / count
            rows.append([count, confidence, right / count])
        return rows

    def error(self) -> float | None:
        """Return the expected calibration error; None if nothing was counted.

        It is the gap between confidence and accuracy, averaged over all samples.
        """
        samples = 0
        gaps = []
        for count, right, total in self._bins:
            samples += count
            gaps.append(abs(right - total / UNIT))
        if samples == 0:
            return None
        return math.fsum(gaps) / samples
