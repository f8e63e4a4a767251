"""How well pixels are labelled: mean IoU, pixel accuracy, mean accuracy, IoU by class.

Void pixels count for nothing.
"""

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
    """Counts of pixels over the whole split (not means over images): no order or division
    changes a bit.

    Targets carry ``mask``, HxW class indices in the original's pixels, predictions the same
    encoded; decode: its reader. A class's IoU is |A and B| / |A or B|, its accuracy the share
    of its pixels that are labelled right. The mean IoU is over classes that are present or
    predicted, as scikit-learn's macro Jaccard score has it, the mean accuracy over those that
    are present. If nothing was counted, all is NaN.
    """

    def __init__(self, classes: Sequence[str], decode: Callable[[bytes], Labels]) -> None:
        self.classes = tuple(classes)
        self._decode = decode
        # [true][predicted]
        self._confusion = np.zeros((len(classes), len(classes)), np.int64)

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch.

        CvflowError if an answer has another size than the truth, or a label that the dataset
        lacks.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            predicted = self._decode(prediction.values["mask"])
            truth = target["mask"]
            if predicted.shape != truth.shape:
                raise CvflowError(
                    f"{prediction.id}: got a mask of {predicted.shape} pixels, expected {truth.shape}"
                )
            try:
                self._confusion += confusion(truth, predicted, len(self.classes))
            except ValueError as error:
                raise CvflowError(f"{prediction.id}: {error}") from error

    def state(self) -> list[list[int]]:
        """Return everything counted so far, to be merged elsewhere."""
        return self._confusion.tolist()

    def merge(self, state: Sequence[Sequence[int]]) -> None:
        """Add what another worker counted."""
        self._confusion += np.asarray(state, np.int64)

    def compute(self) -> dict[str, float]:
        """Return miou, pixel_accuracy, mean_accuracy, all 0..1."""
        total = int(self._confusion.sum())
        right = int(np.trace(self._confusion))
        ious, accuracies = [], []
        for _, iou, accuracy in self._per_class():
            if iou is not None:
                ious.append(iou)
            if accuracy is not None:
                accuracies.append(accuracy)
        return {
            "miou": _mean(ious),
            "pixel_accuracy": right / total if total else math.nan,
            "mean_accuracy": _mean(accuracies),
        }

    def _per_class(self) -> list[tuple[int, float | None, float | None]]:
        """Return (pixels, IoU, accuracy) of each class; None if there is nothing to divide by."""
        true_pixels = self._confusion.sum(1).tolist()
        predicted_pixels = self._confusion.sum(0).tolist()
        right_pixels = np.diag(self._confusion).tolist()
        rows = []
        for true, predicted, right in zip(true_pixels, predicted_pixels, right_pixels, strict=True):
            union = true + predicted - right
            iou = right / union if union else None
            accuracy = right / true if true else None
            rows.append((true, iou, accuracy))
        return rows

    def details(self) -> dict[str, Any]:
        """Return figures: IoU by class, and which class is taken for which (pixels)."""
        total = int(self._confusion.sum()) or 1
        table = []
        for name, (pixels, iou, accuracy) in zip(self.classes, self._per_class(), strict=True):
            table.append([name, pixels, pixels / total, iou, accuracy])
        return {
            "per_class": {
                "figure": "table",
                "columns": ["class", "pixels", "share", "iou", "accuracy"],
                "rows": table,
                "order": "iou",
                "bars": ["iou", "accuracy"],
            },
            "confusion": {
                "figure": "matrix",
                "classes": list(self.classes),
                "values": self._confusion.tolist(),
            },
        }


def confusion(truth: Labels, predicted: Labels, classes: int) -> Counts:
    """Return classes x classes pixels by [true][predicted]; ValueError for a label beyond."""
    valid = truth != VOID
    true_labels = truth[valid].astype(np.int64)
    predicted_labels = predicted[valid].astype(np.int64)
    greatest = max(true_labels.max(initial=0), predicted_labels.max(initial=0))
    if greatest >= classes:
        raise ValueError(f"got the label {greatest}, expected one below {classes}")
    # Both labels as one number, so that a single pass counts all cells.
    cells = true_labels * classes + predicted_labels
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def mean_iou(counts: Counts) -> float:
    """Return the mean over the classes that are present or predicted; NaN if all is void."""
    intersections = np.diag(counts)
    unions = counts.sum(0) + counts.sum(1) - intersections
    ious = []
    for intersection, union in zip(intersections, unions, strict=True):
        if union:
            ious.append(int(intersection) / int(union))
    return _mean(ious)


def _mean(values: Sequence[float]) -> float:
    if not values:
        return math.nan
    return math.fsum(values) / len(values)
