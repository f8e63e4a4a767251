"""One class and one box an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cvflow.annotations import box
from cvflow.annotations.image import Pixels, decode
from cvflow.answers.base import BaseAnswer, Figures, Guess, Metric
from cvflow.answers.classes import class_shares
from cvflow.metrics.localization import LEAST_IOU, LocalizationMetric, iou
from cvflow.types import DatasetInfo, Prediction, Row


class BoxAnswer(BaseAnswer):
    """``class``, ``probabilities`` and ``box``, xyxy in the original's pixels; truths are ``label``
    and ``box``.
    """

    name = "box"
    columns: Mapping[str, str] = {"class": "string", "probabilities": "list<float>", "box": "list<float>"}
    quality_name = "IoU"
    figures: Figures = {
        "accuracy": "max",
        "box_accuracy": "max",
        "class_accuracy": "max",
        "mean_iou": "max",
    }

    def metric(self, info: DatasetInfo) -> Metric:
        return LocalizationMetric(info.classes)

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        return iou(prediction.values["box"], truth["box"])

    def right(self, prediction: Prediction, truth: Mapping[str, Any]) -> bool:
        if prediction.values["class"] != self.info.classes[int(truth["label"])]:
            return False
        return self.quality(prediction, truth) >= LEAST_IOU

    def caption(self, values: Mapping[str, Any]) -> str:
        if "label" in values:
            return self.info.classes[int(values["label"])]
        return f"{values['class']} {max(values['probabilities']):.0%}"

    def draw(self, image: Pixels, values: Mapping[str, Any]) -> Pixels:
        from cvflow.draw.annotated import boxed

        return boxed(image, values["box"], self.caption(values))

    def guess(self, train: Iterable[Row]) -> Guess:
        """The most frequent class, and the mean of all boxes as fractions of the images' widths and
        heights.
        """
        rows = list(train)
        shares = class_shares(rows, len(self.info.classes))
        name = self.info.classes[int(np.argmax(shares))]
        mean_box = np.mean([box.decode(row["box"]) / _image_edges(row) for row in rows], axis=0)

        def guess(row: Row) -> Mapping[str, Any]:
            return {"class": name, "probabilities": shares, "box": (mean_box * _image_edges(row)).tolist()}

        return guess


def _image_edges(row: Row) -> box.Box:
    """(width, height, width, height) of a row's image in pixels."""
    height, width = decode(row["image"]).shape[:2]
    return np.array([width, height, width, height], np.float32)
