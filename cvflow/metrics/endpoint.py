"""How far off a map of disparity or flow is: end-point error, and shares of pixels that are too far off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.errors import CvflowError
from cvflow.types import Prediction

Map = NDArray[np.float32]
Lengths = NDArray[np.float64]
STEPS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Pixels, at which the report's curve of errors is drawn."""


class Bad(NamedTuple):
    """An error greater than both, pixels and fraction of the true length, is bad."""

    pixels: float
    fraction: float = 0.0


class EndpointMetric:
    """Measures over the valid pixels of all images, at the size of the originals.

    Predictions carry ``name`` as encoded bytes, targets as an array, NaN = unknown. A pixel
    counts alike in every image. An image is never divided among workers: the sum of its errors
    is the same wherever it is made, the sums of images are added exactly (``math.fsum``), the
    rest are integers. So neither order nor division changes a bit of the result. If nothing was
    counted, all is NaN; an answer that is NaN is bad, and the mean NaN.
    """

    def __init__(self, name: str, decode: Callable[[bytes], Map], shares: Mapping[str, Bad]) -> None:
        self.name = name
        self.decode = decode
        self.shares = shares
        self._sums: list[float] = []
        self._pixels = 0
        self._bad = [0] * len(shares)
        self._above = [0] * len(STEPS)

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch; raises CvflowError if an answer has another size than the truth."""
        for prediction, target in zip(predictions, targets, strict=True):
            answer = self.decode(prediction.values[self.name])
            truth = target[self.name]
            if answer.shape != truth.shape:
                raise CvflowError(
                    f"{prediction.id}: got a {self.name} of shape {answer.shape}, expected {truth.shape}"
                )
            self._add(*errors_of(answer, truth))

    def _add(self, errors: Lengths, lengths: Lengths) -> None:
        self._sums.append(float(errors.sum()))
        self._pixels += len(errors)
        # "Not within" rather than "beyond": an error that is NaN is counted as bad.
        for i, bad in enumerate(self.shares.values()):
            beyond_pixels = ~(errors <= bad.pixels)
            beyond_fraction = ~(errors <= bad.fraction * lengths)
            self._bad[i] += int(np.count_nonzero(beyond_pixels & beyond_fraction))
        for i, step in enumerate(STEPS):
            self._above[i] += int(np.count_nonzero(~(errors <= step)))

    def state(self) -> dict[str, Any]:
        """Return everything counted so far, to be merged elsewhere."""
        return {
            "sums": list(self._sums),
            "known": self._pixels,
            "bad": list(self._bad),
            "above": list(self._above),
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another worker counted."""
        self._sums += state["sums"]
        self._pixels += state["known"]
        for i, count in enumerate(state["bad"]):
            self._bad[i] += count
        for i, count in enumerate(state["above"]):
            self._above[i] += count

    def compute(self) -> dict[str, float]:
        """Return epe in pixels, and the shares by their names, 0..1."""
        count = self._pixels or math.nan
        figures = {"epe": math.fsum(self._sums) / count}
        for name, bad in zip(self.shares, self._bad, strict=True):
            figures[name] = bad / count
        return figures

    def details(self) -> dict[str, Any]:
        """Return a figure: what share of the pixels is off by more than so many pixels."""
        points = []
        if self._pixels:
            for step, above in zip(STEPS, self._above, strict=True):
                points.append([step, above / self._pixels])
        return {
            "errors": {
                "figure": "curves",
                "title": "Errors",
                "series": {"share of pixels off by more": points},
                "x_label": "error, px",
                "y_label": "share of pixels",
                "x_log": True,
            }
        }


def errors_of(answer: Map, truth: Map) -> tuple[Lengths, Lengths]:
    """Return (lengths of the differences, lengths of the truth) at the valid pixels; HxW or HxWxC."""
    channels = truth.reshape(*truth.shape[:2], -1).astype(np.float64)
    valid = ~np.isnan(channels).any(axis=2)
    true_vectors = channels[valid]
    vectors = answer.reshape(channels.shape).astype(np.float64)[valid]
    return _lengths(vectors - true_vectors), _lengths(true_vectors)


def _lengths(vectors: Lengths) -> Lengths:
    lengths: Lengths = np.sqrt(np.square(vectors).sum(axis=1))
    return lengths


def epe(answer: Map, truth: Map) -> float:
    """Return the mean error over the valid pixels of one image, in pixels; NaN if it has none."""
    errors, _ = errors_of(answer, truth)
    return float(errors.mean()) if len(errors) else math.nan
