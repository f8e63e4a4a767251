"""Whether the one thing in an image is named and located: class right, IoU at least 0.5, both.

The measure is ILSVRC's localization (Russakovsky et al. 2014, arXiv 1409.0575).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cvflow.types import Prediction

LEAST_IOU = 0.5
"""The least IoU of a box that counts as right."""

Row = tuple[int, int, float]
"""(true class, predicted class, IoU) of an image."""


class LocalizationMetric:
    """Counts, and IoUs that are summed exactly: neither order nor division among workers
    changes a bit.

    Predictions carry ``class`` (a name) and ``box``, targets ``label`` (its index) and ``box``:
    xyxy, in the original's pixels.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._rows: list[Row] = []

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch."""
        for prediction, target in zip(predictions, targets, strict=True):
            label = int(target["label"])
            predicted = self.classes.index(prediction.values["class"])
            overlap = iou(prediction.values["box"], target["box"])
            self._rows.append((label, predicted, overlap))

    def state(self) -> list[list[float]]:
        """Return everything counted so far, to be merged elsewhere."""
        return [list(row) for row in self._rows]

    def merge(self, state: Sequence[Sequence[float]]) -> None:
        """Add what another worker counted."""
        for label, predicted, overlap in state:
            self._rows.append((int(label), int(predicted), overlap))

    def compute(self) -> dict[str, float]:
        """Return accuracy (class and box right), box_accuracy, class_accuracy, mean_iou.

        All are 0..1; NaN if nothing was counted.
        """
        return _figures(self._rows)

    def details(self) -> dict[str, Any]:
        """Return figures: the measures by class, and which class is taken for which."""
        num_classes = len(self.classes)
        confusion = [[0] * num_classes for _ in self.classes]
        by_class: list[list[Row]] = [[] for _ in self.classes]
        for row in self._rows:
            label, predicted, _ = row
            by_class[label].append(row)
            confusion[label][predicted] += 1

        table: list[list[Any]] = []
        for name, rows in zip(self.classes, by_class, strict=True):
            measures = list(_figures(rows).values()) if rows else [None] * 4
            table.append([name, len(rows), *measures])
        columns = ["class", "images", "accuracy", "box accuracy", "class accuracy", "mean iou"]
        return {
            "per_class": {
                "figure": "table",
                "columns": columns,
                "rows": table,
                "order": "accuracy",
                "bars": columns[2:],
            },
            "confusion": {
                "figure": "matrix",
                "classes": list(self.classes),
                "values": confusion,
            },
        }


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    counts = {"accuracy": 0, "box_accuracy": 0, "class_accuracy": 0}
    for label, predicted, overlap in rows:
        class_right = label == predicted
        box_right = overlap >= LEAST_IOU
        counts["accuracy"] += class_right and box_right
        counts["box_accuracy"] += box_right
        counts["class_accuracy"] += class_right
    # fsum rounds once, so that the order of the images does not matter.
    sums = {**counts, "mean_iou": math.fsum(row[2] for row in rows)}
    if not rows:
        return dict.fromkeys(sums, math.nan)
    return {name: total / len(rows) for name, total in sums.items()}


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the overlap of two boxes xyxy, 0..1; 0 if either has no area."""
    a_left, a_top, a_right, a_bottom = map(float, a)
    b_left, b_top, b_right, b_bottom = map(float, b)
    width = max(0.0, min(a_right, b_right) - max(a_left, b_left))
    height = max(0.0, min(a_bottom, b_bottom) - max(a_top, b_top))
    intersection = width * height
    a_area = max(0.0, a_right - a_left) * max(0.0, a_bottom - a_top)
    b_area = max(0.0, b_right - b_left) * max(0.0, b_bottom - b_top)
    union = a_area + b_area - intersection
    return intersection / union if union > 0 else 0.0
