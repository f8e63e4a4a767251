"""How well pixels are labelled: mean IoU, pixel accuracy, mean accuracy, IoU by class; void pixels count for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.errors import CvflowError
from cvflow.ops.labels import VOID
from cvflow.types import Prediction

Labels = NDArray[np.uint8]
Counts = NDArray[np.int64]


class SegmentationMetric:
    """Counts of pixels over the whole split (not means over images), so that no order or division changes a bit.

    Targets carry ``mask``, HxW class indices in the original's pixels, predictions the same encoded; decode: its reader. A class's IoU
    is |A and B| / |A or B|, its accuracy the share of its pixels that are found; the means are over classes that are there or
    predicted (IoU, as scikit-learn's macro Jaccard score has it) and those that are there (accuracy). Of nothing, all is NaN.
    """

    def __init__(self, classes: Sequence[str], decode: Callable[[bytes], Labels]) -> None:
        self.classes, self._decode = tuple(classes), decode
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)  # [true][predicted]

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """CvflowError where an answer has another size than the truth, or a label that the dataset does not have."""
        for prediction, target in zip(predictions, targets, strict=True):
            said, true = self._decode(prediction.values["mask"]), target["mask"]
            if said.shape != true.shape:
                raise CvflowError(
                    f"{prediction.id}: got a mask of {said.shape} pixels, expected {true.shape}"
                )
            try:
                self._confusion += confusion(true, said, len(self.classes))
            except ValueError as error:
                raise CvflowError(f"{prediction.id}: {error}") from error

    def state(self) -> list[list[int]]:
        return self._confusion.tolist()

    def merge(self, state: Sequence[Sequence[int]]) -> None:
        self._confusion += np.asarray(state, np.int64)

    def compute(self) -> dict[str, float]:
        """miou, pixel_accuracy, mean_accuracy, all 0..1."""
        total, found = int(self._confusion.sum()), int(np.trace(self._confusion))
        rows = [row for row in self._per_class() if row is not None]
        return {
            "miou": _mean([iou for _, iou, _ in rows if iou is not None]),
            "pixel_accuracy": found / total if total else math.nan,
            "mean_accuracy": _mean([accuracy for *_, accuracy in rows if accuracy is not None]),
        }

    def _per_class(self) -> list[tuple[int, float | None, float | None]]:
        """(pixels, IoU, accuracy) of each class; None where there is nothing to divide by."""
        there, said, both = (
            self._confusion.sum(1).tolist(),
            self._confusion.sum(0).tolist(),
            np.diag(self._confusion).tolist(),
        )
        return [
            (t, both / (t + s - both) if t + s else None, both / t if t else None)
            for t, s, both in zip(there, said, both, strict=True)
        ]

    def details(self) -> dict[str, Any]:
        """IoU by class, and which class is taken for which (pixels)."""
        total = int(self._confusion.sum()) or 1
        rows = [
            [name, t, t / total, iou, accuracy]
            for name, (t, iou, accuracy) in zip(self.classes, self._per_class(), strict=True)
        ]
        columns = ["class", "pixels", "share", "iou", "accuracy"]
        return {
            "per_class": {
                "figure": "table",
                "columns": columns,
                "rows": rows,
                "order": "iou",
                "bars": ["iou", "accuracy"],
            },
            "confusion": {
                "figure": "matrix",
                "classes": list(self.classes),
                "values": self._confusion.tolist(),
            },
        }


def confusion(true: Labels, said: Labels, classes: int) -> Counts:
    """classes x classes, pixels by [true][predicted]; ValueError for a label beyond."""
    known = true != VOID
    t, s = true[known].astype(np.int64), said[known].astype(np.int64)
    greatest = max(t.max(initial=0), s.max(initial=0))
    if greatest >= classes:
        raise ValueError(f"got the label {greatest}, expected one below {classes}")
    return np.bincount(t * classes + s, minlength=classes**2).reshape(classes, classes)


def mean_iou(counts: Counts) -> float:
    """Over the classes that are there or predicted; NaN where all is void."""
    both, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    return _mean([int(b) / int(u) for b, u in zip(both, union, strict=True) if u])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
