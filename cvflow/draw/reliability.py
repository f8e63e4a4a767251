"""Reliability diagram: how often answers of each confidence are right.

DeGroot & Fienberg 1983; Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from cvflow.draw.scale import number


class Bar(NamedTuple):
    """One bin that is not empty, in percent of the plot.

    accuracy, confidence: heights. share: height of the bin's samples, of those of the fullest bin.
    text: shown on hover.
    """

    left: float
    width: float
    accuracy: float
    confidence: float
    share: float
    text: str

    @property
    def both(self) -> float:
        """Height that both confidence and accuracy reach; the gap begins there."""
        return min(self.accuracy, self.confidence)

    @property
    def gap(self) -> float:
        """Height between confidence and accuracy."""
        difference = self.accuracy - self.confidence
        return round(abs(difference), 2)

    @property
    def too_sure(self) -> bool:
        """Whether the confidence is above the accuracy."""
        return self.confidence > self.accuracy


@dataclass(frozen=True)
class Reliability:
    """A diagram of bins.

    bins: [samples, mean confidence, accuracy] of bins of equal width over 0..1.
    error: the expected calibration error.
    """

    bins: Sequence[tuple[int, float | None, float | None]]
    error: float | None
    title: str = "Calibration"
    kind: ClassVar[str] = "reliability"

    @property
    def bars(self) -> list[Bar]:
        """The bins that are not empty."""
        bars = []
        for i, (samples, confidence, accuracy) in enumerate(self.bins):
            if samples and confidence is not None and accuracy is not None:
                bars.append(self._bar(i, samples, confidence, accuracy))
        return bars

    def _bar(self, i: int, samples: int, confidence: float, accuracy: float) -> Bar:
        count = len(self.bins)
        fullest = max(bin[0] for bin in self.bins)
        return Bar(
            left=round(100 * (i / count), 2),
            width=round(100 * (1 / count), 2),
            accuracy=round(100 * accuracy, 2),
            confidence=round(100 * confidence, 2),
            share=round(100 * (samples / fullest), 2),
            text=f"confidence {confidence:.1%}: {accuracy:.1%} right of {number(samples)}",
        )

    @property
    def verdict(self) -> str:
        """The error in words, and to which side."""
        if self.error is None:
            return "Nothing was measured."
        surplus = self._surplus()
        side = "surer than it is right" if surplus > 0 else "more often right than it is sure"
        return (
            f"Expected calibration error {number(self.error, 3)}; "
            f"on the whole the model is {side}, by {abs(surplus):.1%}."
        )

    def _surplus(self) -> float:
        """Return by how much the confidence is above the accuracy, on average over all samples."""
        total = 0
        surplus = 0.0
        for samples, confidence, accuracy in self.bins:
            total += samples
            if confidence is not None and accuracy is not None:
                surplus += samples * (confidence - accuracy)
        return surplus / total
