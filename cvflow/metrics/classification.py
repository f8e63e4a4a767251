"""How right a classifier is: accuracy, top-k accuracy, macro F1, log loss, calibration, confusion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvflow.errors import CvflowError
from cvflow.metrics.calibration import Calibration
from cvflow.types import Prediction

LEAST_PROBABILITY = 2.0**-52
"""A true class with less (or NaN) counts as this much: one sure mistake costs 36 nats and not infinity."""


class ClassificationMetric:
    """Integer counts and exactly summed losses: neither order nor division among workers
    changes a bit.

    Predictions carry ``class`` (a name) and ``probabilities`` (one per class, 0..1); targets
    carry ``label`` (class index). The definitions are scikit-learn's: a class neither present
    nor predicted does not enter macro F1. If nothing was counted, all is NaN.
    """

    def __init__(self, classes: Sequence[str], topk: Sequence[int] = (1, 5)) -> None:
        self.classes = tuple(classes)
        num_classes = len(self.classes)
        # Top 5 of 5 classes is always 1, so it is left out.
        self.topk = tuple(k for k in topk if k == 1 or k < num_classes)
        self._index = {name: i for i, name in enumerate(self.classes)}
        self._confusion = [[0] * num_classes for _ in self.classes]  # [true][predicted]
        self._hits = [0] * len(self.topk)
        self._losses: list[float] = []
        self._calibration = Calibration()

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch; raises CvflowError for a class or label that the dataset does not have."""
        for prediction, target in zip(predictions, targets, strict=True):
            self._add(prediction, int(target["label"]))

    def _add(self, prediction: Prediction, label: int) -> None:
        probabilities = prediction.values["probabilities"]
        self._check(prediction, label, len(probabilities))
        predicted = self._index[prediction.values["class"]]
        right = predicted == label
        self._confusion[label][predicted] += 1
        rank = _rank(probabilities, label)
        for i, k in enumerate(self.topk):
            # The answer may break ties otherwise than the rank does.
            hit = right if k == 1 else rank < k
            self._hits[i] += hit
        self._calibration.add(float(probabilities[predicted]), right)
        self._losses.append(_log_loss(float(probabilities[label])))

    def _check(self, prediction: Prediction, label: int, num_probabilities: int) -> None:
        predicted = prediction.values["class"]
        count = len(self.classes)
        if predicted not in self._index:
            raise CvflowError(
                f"{prediction.id}: got the class {predicted!r}, expected one of the dataset's {count} classes"
            )
        if not 0 <= label < count or num_probabilities != count:
            raise CvflowError(
                f"{prediction.id}: got label {label} and {num_probabilities} probabilities, "
                f"expected a label below {count} and {count}"
            )

    def state(self) -> dict[str, Any]:
        """Return everything counted so far, to be merged elsewhere."""
        return {
            "confusion": [list(row) for row in self._confusion],
            "hits": list(self._hits),
            "losses": list(self._losses),
            "calibration": self._calibration.state(),
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another worker counted."""
        for row, more in zip(self._confusion, state["confusion"], strict=True):
            for i, count in enumerate(more):
                row[i] += count
        for i, count in enumerate(state["hits"]):
            self._hits[i] += count
        self._losses += state["losses"]
        self._calibration.merge(state["calibration"])

    def compute(self) -> dict[str, float]:
        """Return the figures.

        accuracy, top<k>_accuracy, macro_f1, calibration_error: 0..1. log_loss: nats a sample.
        """
        total = len(self._losses)
        figures: dict[str, float | None] = {}
        for k, hits in zip(self.topk, self._hits, strict=True):
            name = "accuracy" if k == 1 else f"top{k}_accuracy"
            figures[name] = _ratio(hits, total)
        f1 = []
        for _, _, _, score, _ in self._per_class():
            if score is not None:
                f1.append(score)
        figures["macro_f1"] = _ratio(math.fsum(f1), len(f1))
        figures["log_loss"] = _ratio(math.fsum(self._losses), total)
        figures["calibration_error"] = self._calibration.error()
        return {name: math.nan if value is None else value for name, value in figures.items()}

    def details(self) -> dict[str, Any]:
        """Return figures: the confusion matrix (rows true, columns predicted), a table by
        class, reliability.

        A ratio without a denominator is None.
        """
        return {
            "confusion": {
                "figure": "matrix",
                "classes": list(self.classes),
                "values": [list(row) for row in self._confusion],
            },
            "per_class": {
                "figure": "table",
                "columns": ["class", "precision", "recall", "F1", "support"],
                "rows": list(self._per_class()),
                "order": "F1",
                "bars": ["precision", "recall", "F1", "support"],
            },
            "reliability": {
                "figure": "reliability",
                "bins": self._calibration.bins(),
                "error": self._calibration.error(),
            },
        }

    def _per_class(self) -> Iterator[list[Any]]:
        """Yield [class, precision, recall, F1, support] of each class."""
        predicted = [sum(column) for column in zip(*self._confusion, strict=True)]
        for i, name in enumerate(self.classes):
            right = self._confusion[i][i]
            support = sum(self._confusion[i])
            precision = _ratio(right, predicted[i])
            recall = _ratio(right, support)
            f1 = _ratio(2 * right, predicted[i] + support)
            yield [name, precision, recall, f1, support]


def _ratio(part: float, total: int) -> float | None:
    return part / total if total else None


def _log_loss(probability: float) -> float:
    """Return the cost in nats of a true class with this probability."""
    # In this order of arguments NaN counts as the least probability.
    clipped = min(1.0, max(LEAST_PROBABILITY, probability))
    return -math.log(clipped)


def _rank(probabilities: Sequence[float], label: int) -> int:
    """Return how many classes come before the true one.

    Among equals the lower index comes first; a true class with NaN comes last.
    """
    true_class = probabilities[label]
    rank = 0
    for i, probability in enumerate(probabilities):
        behind = true_class > probability or (true_class == probability and i >= label)
        rank += not behind
    return rank
