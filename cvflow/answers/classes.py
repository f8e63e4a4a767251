"""One class an image, with the probability of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cvflow.answers.base import BaseAnswer, Figures, Guess, Metric
from cvflow.metrics.classification import ClassificationMetric
from cvflow.types import DatasetInfo, Prediction, Row

TOP = 5
"""With at most this many classes, the top-5 accuracy would always be 1 and is left out."""


class ClassAnswer(BaseAnswer):
    """``class``, the name, and ``probabilities``, one for each class; truths are ``label``, an
    index of the classes.
    """

    name = "class"
    columns: Mapping[str, str] = {"class": "string", "probabilities": "list<float>"}
    quality_name = "the truth's share"
    figures: Figures = {
        "accuracy": "max",
        "top5_accuracy": "max",
        "macro_f1": "max",
        "log_loss": "min",
        "calibration_error": "min",
    }

    def bind(self, info: DatasetInfo) -> None:
        super().bind(info)
        if len(info.classes) <= TOP:
            self.figures = {name: best for name, best in self.figures.items() if name != "top5_accuracy"}

    def metric(self, info: DatasetInfo) -> Metric:
        return ClassificationMetric(info.classes)

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        """Return the probability given to the true class."""
        return float(prediction.values["probabilities"][truth["label"]])

    def right(self, prediction: Prediction, truth: Mapping[str, Any]) -> bool:
        return bool(prediction.values["class"] == self.info.classes[int(truth["label"])])

    def caption(self, values: Mapping[str, Any]) -> str:
        if "label" in values:
            return self.info.classes[int(values["label"])]
        return f"{values['class']} {max(values['probabilities']):.0%}"

    def guess(self, train: Iterable[Row]) -> Guess:
        """The most frequent class, with the shares of all classes as probabilities."""
        shares = class_shares(train, len(self.info.classes))
        name = self.info.classes[shares.index(max(shares))]
        return lambda row: {"class": name, "probabilities": shares}


def class_shares(rows: Iterable[Row], num_classes: int) -> Sequence[float]:
    """Return how much of the rows each class has, 0..1."""
    counts = Counter(int(row["label"]) for row in rows)
    total = counts.total()
    return [counts[label] / total for label in range(num_classes)]
