"""Whether the one thing in an image is named and found: class right, IoU at least 0.5, both (ILSVRC's localization, arXiv 1409.0575)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cvflow.types import Prediction

FOUND = 0.5
"""The least IoU of a box that counts as found."""


class LocalizationMetric:
    """Counts, and IoUs that are summed exactly: neither order nor division among workers changes a bit.

    Predictions carry ``class`` (a name) and ``box``, targets ``label`` (its index) and ``box``: xyxy, the original's pixels.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._rows: list[tuple[int, int, float]] = []  # true class, class answered, IoU

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            said = self.classes.index(prediction.values["class"])
            self._rows.append((int(target["label"]), said, iou(prediction.values["box"], target["box"])))

    def state(self) -> list[list[float]]:
        return [list(row) for row in self._rows]

    def merge(self, state: Sequence[Sequence[float]]) -> None:
        self._rows += [(int(true), int(said), overlap) for true, said, overlap in state]

    def compute(self) -> dict[str, float]:
        """accuracy (class and box right), box_accuracy, class_accuracy, mean_iou: all 0..1; of nothing NaN."""
        return _figures(self._rows)

    def details(self) -> dict[str, Any]:
        """The figures by class, and which class is taken for which."""
        count = len(self.classes)
        by_class = [[row for row in self._rows if row[0] == i] for i in range(count)]
        rows = [
            [name, len(own), *_figures(own).values()] if own else [name, 0, *[None] * 4]
            for name, own in zip(self.classes, by_class, strict=True)
        ]
        counts = [[sum(said == j for _, said, _ in own) for j in range(count)] for own in by_class]
        columns = ["class", "images", "accuracy", "box accuracy", "class accuracy", "mean iou"]
        return {
            "per_class": {
                "figure": "table",
                "columns": columns,
                "rows": rows,
                "order": "accuracy",
                "bars": columns[2:],
            },
            "confusion": {"figure": "matrix", "classes": list(self.classes), "values": counts},
        }


def _figures(rows: Sequence[tuple[int, int, float]]) -> dict[str, float]:
    named, found = [true == said for true, said, _ in rows], [overlap >= FOUND for *_, overlap in rows]
    sums = {
        "accuracy": sum(a and b for a, b in zip(named, found, strict=True)),
        "box_accuracy": sum(found),
        "class_accuracy": sum(named),
        "mean_iou": math.fsum(overlap for *_, overlap in rows),
    }
    return {name: total / len(rows) if rows else math.nan for name, total in sums.items()}


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two boxes xyxy; 0 where either has no area."""
    width, height = (
        max(0.0, min(float(a[i + 2]), float(b[i + 2])) - max(float(a[i]), float(b[i]))) for i in (0, 1)
    )
    areas = (max(0.0, float(x[2]) - float(x[0])) * max(0.0, float(x[3]) - float(x[1])) for x in (a, b))
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0
