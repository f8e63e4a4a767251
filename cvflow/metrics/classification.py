"""How right a classifier is: accuracy, top-k accuracy, macro F1, log loss, calibration, who is taken for whom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvflow.errors import CvflowError
from cvflow.metrics.calibration import Calibration
from cvflow.types import Prediction

LEAST_PROBABILITY = 2.0**-52
"""A true class given less (or NaN) counts as this much, so that one sure mistake costs 36 nats and not infinity."""


class ClassificationMetric:
    """Integer counts and exactly summed losses: neither order nor division among workers changes a bit of the result.

    Predictions carry ``class`` (a name) and ``probabilities`` (one per class, 0..1); targets carry ``label`` (class index).
    The definitions are scikit-learn's: a class neither present nor predicted does not enter macro F1. Of nothing, all is NaN.
    """

    def __init__(self, classes: Sequence[str], topk: Sequence[int] = (1, 5)) -> None:
        self.classes = tuple(classes)
        self.topk = tuple(
            k for k in topk if k == 1 or k < len(self.classes)
        )  # top 5 of 5 classes is always 1
        self._index = {name: i for i, name in enumerate(self.classes)}
        self._confusion = [[0] * len(self.classes) for _ in self.classes]  # [true][predicted]
        self._hits = [0] * len(self.topk)
        self._losses: list[float] = []
        self._calibration = Calibration()

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch; raises CvflowError for a class or label that the dataset does not have."""
        for prediction, target in zip(predictions, targets, strict=True):
            label, probabilities = int(target["label"]), prediction.values["probabilities"]
            self._check(prediction, label, len(probabilities))
            said = self._index[prediction.values["class"]]
            self._confusion[label][said] += 1
            rank = _rank(probabilities, label)
            for i, k in enumerate(self.topk):
                self._hits[i] += (said == label) if k == 1 else (rank < k)
            self._calibration.add(float(probabilities[said]), said == label)
            self._losses.append(-math.log(min(1.0, max(LEAST_PROBABILITY, float(probabilities[label])))))

    def _check(self, prediction: Prediction, label: int, given: int) -> None:
        said, count = prediction.values["class"], len(self.classes)
        if said not in self._index:
            raise CvflowError(
                f"{prediction.id}: got the class {said!r}, expected one of the dataset's {count} classes"
            )
        if not 0 <= label < count or given != count:
            raise CvflowError(
                f"{prediction.id}: got label {label} and {given} probabilities, expected a label below {count} and {count}"
            )

    def state(self) -> dict[str, Any]:
        return {
            "confusion": [list(row) for row in self._confusion],
            "hits": list(self._hits),
            "losses": list(self._losses),
            "calibration": self._calibration.state(),
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        self._confusion = [
            [a + b for a, b in zip(*rows, strict=True)]
            for rows in zip(self._confusion, state["confusion"], strict=True)
        ]
        self._hits = [a + b for a, b in zip(self._hits, state["hits"], strict=True)]
        self._losses += state["losses"]
        self._calibration.merge(state["calibration"])

    def compute(self) -> dict[str, float]:
        """accuracy, top<k>_accuracy, macro_f1, calibration_error (all 0..1) and log_loss (nats a sample)."""
        total = len(self._losses)
        hits = {
            "accuracy" if k == 1 else f"top{k}_accuracy": _ratio(n, total)
            for k, n in zip(self.topk, self._hits, strict=True)
        }
        f1 = [row[3] for row in self._per_class() if row[3] is not None]
        means = {
            "macro_f1": _ratio(math.fsum(f1), len(f1)),
            "log_loss": _ratio(math.fsum(self._losses), total),
        }
        means["calibration_error"] = self._calibration.error()
        return {name: math.nan if value is None else value for name, value in (hits | means).items()}

    def details(self) -> dict[str, Any]:
        """Confusion matrix (rows true, columns predicted), table per class, reliability; None where a ratio has no denominator."""
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
        """[class, precision, recall, F1, support] of each class."""
        predicted = [sum(column) for column in zip(*self._confusion, strict=True)]
        for i, name in enumerate(self.classes):
            right, support = self._confusion[i][i], sum(self._confusion[i])
            ratios = (
                _ratio(right, predicted[i]),
                _ratio(right, support),
                _ratio(2 * right, predicted[i] + support),
            )
            yield [name, *ratios, support]


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _rank(probabilities: Sequence[float], label: int) -> int:
    """How many classes come before the true one: among equals the lower index does; a true class given NaN comes last."""
    own = probabilities[label]
    return sum(not (own > p or (own == p and i >= label)) for i, p in enumerate(probabilities))
