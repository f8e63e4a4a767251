"""Reliability diagram: how often answers of each confidence are right (DeGroot & Fienberg 1983; Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from cvflow.draw.scale import number


class Bar(NamedTuple):
    """One bin that is not empty, in percent of the plot. accuracy, confidence: heights; share: height, of the fullest bin."""

    left: float
    width: float
    accuracy: float
    confidence: float
    share: float
    said: str

    @property
    def both(self) -> float:
        """Height up to which there is both confidence and accuracy; the gap begins there."""
        return min(self.accuracy, self.confidence)

    @property
    def gap(self) -> float:
        return round(abs(self.accuracy - self.confidence), 2)

    @property
    def too_sure(self) -> bool:
        return self.confidence > self.accuracy


@dataclass(frozen=True)
class Reliability:
    """bins: [samples, mean confidence, accuracy] of bins of equal width over 0..1; error: the expected calibration error."""

    bins: Sequence[tuple[int, float | None, float | None]]
    error: float | None
    title: str = "Calibration"
    kind: ClassVar[str] = "reliability"

    @property
    def bars(self) -> list[Bar]:
        fullest = max((n for n, *_ in self.bins), default=0)
        return [
            self._bar(i, n, c, a, fullest)
            for i, (n, c, a) in enumerate(self.bins)
            if n and c is not None and a is not None
        ]

    def _bar(self, i: int, samples: int, confidence: float, accuracy: float, fullest: int) -> Bar:
        said = f"confidence {confidence:.1%}: {accuracy:.1%} right of {number(samples)}"
        left, width, right, sure, share = (
            round(100 * value, 2)
            for value in (i / len(self.bins), 1 / len(self.bins), accuracy, confidence, samples / fullest)
        )
        return Bar(left, width, right, sure, share, said)

    @property
    def verdict(self) -> str:
        """The error in words, and to which side."""
        if self.error is None:
            return "Nothing was measured."
        total = sum(n for n, *_ in self.bins)
        surplus = sum(n * (c - a) for n, c, a in self.bins if c is not None and a is not None) / total
        side = "surer than it is right" if surplus > 0 else "more often right than it is sure"
        return f"Expected calibration error {number(self.error, 3)}; on the whole the model is {side}, by {abs(surplus):.1%}."
