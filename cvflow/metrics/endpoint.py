"""How far off a map of disparity or flow is: end-point error, and the shares of pixels that are too far off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.errors import CvflowError
from cvflow.types import Prediction

Map = NDArray[np.float32]
STEPS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Pixels, at which the report's curve of errors is drawn."""


class Bad(NamedTuple):
    """An error greater than both, pixels and fraction of the true length, is bad."""

    pixels: float
    fraction: float = 0.0


class EndpointMetric:
    """Over the known pixels of all images, at the size of the originals; a pixel counts alike in every image.

    Predictions carry ``name`` as encoded bytes, targets as an array, NaN = unknown. An image is never divided among workers: the
    sum of its errors is the same wherever it is made, the sums of images are added exactly (``math.fsum``), the rest are integers.
    So neither order nor division changes a bit of the result. Of nothing, all is NaN; an answer that is NaN is bad, and the mean NaN.
    """

    def __init__(self, name: str, decode: Callable[[bytes], Map], shares: Mapping[str, Bad]) -> None:
        self.name, self.decode, self.shares = name, decode, shares
        self._sums: list[float] = []
        self._known = 0
        self._bad = [0] * len(shares)
        self._above = [0] * len(STEPS)

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch; raises CvflowError where an answer has another size than the truth."""
        for prediction, target in zip(predictions, targets, strict=True):
            answer, truth = self.decode(prediction.values[self.name]), target[self.name]
            if answer.shape != truth.shape:
                raise CvflowError(
                    f"{prediction.id}: got a {self.name} of shape {answer.shape}, expected {truth.shape}"
                )
            errors, lengths = errors_of(answer, truth)
            self._sums.append(float(errors.sum()))
            self._known += len(errors)
            for i, bad in enumerate(self.shares.values()):
                self._bad[i] += int(
                    np.count_nonzero(~(errors <= bad.pixels) & ~(errors <= bad.fraction * lengths))
                )
            for i, step in enumerate(STEPS):
                self._above[i] += int(np.count_nonzero(~(errors <= step)))

    def state(self) -> dict[str, Any]:
        return {
            "sums": list(self._sums),
            "known": self._known,
            "bad": list(self._bad),
            "above": list(self._above),
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        self._sums += state["sums"]
        self._known += state["known"]
        self._bad = [a + b for a, b in zip(self._bad, state["bad"], strict=True)]
        self._above = [a + b for a, b in zip(self._above, state["above"], strict=True)]

    def compute(self) -> dict[str, float]:
        """epe: pixels. The shares by their names: 0..1."""
        count = self._known or math.nan
        return {
            "epe": math.fsum(self._sums) / count,
            **{name: bad / count for name, bad in zip(self.shares, self._bad, strict=True)},
        }

    def details(self) -> dict[str, Any]:
        """What share of the pixels is off by more than so many pixels."""
        points = (
            [[step, above / self._known] for step, above in zip(STEPS, self._above, strict=True)]
            if self._known
            else []
        )
        curve = {
            "figure": "curves",
            "title": "Errors",
            "series": {"share of pixels off by more": points},
            "x_label": "error, px",
        }
        return {"errors": {**curve, "y_label": "share of pixels", "x_log": True}}


def errors_of(answer: Map, truth: Map) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(lengths of the differences, lengths of the truth) at the known pixels; HxW or HxWxC."""
    channels = truth.reshape(*truth.shape[:2], -1).astype(np.float64)
    known = ~np.isnan(channels).any(axis=2)
    true = channels[known]
    off = answer.reshape(channels.shape).astype(np.float64)[known] - true
    return np.sqrt(np.square(off).sum(axis=1)), np.sqrt(np.square(true).sum(axis=1))


def epe(answer: Map, truth: Map) -> float:
    """Mean error over the known pixels of one image, pixels; NaN where there are none."""
    errors, _ = errors_of(answer, truth)
    return float(errors.mean()) if len(errors) else math.nan
