"""A class for each pixel of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cvflow.annotations import mask
from cvflow.annotations.image import Pixels, decode
from cvflow.answers.base import BaseAnswer, Figures, Guess, Metric
from cvflow.formats.reading.mask_legend import VOID_NAMES
from cvflow.metrics.segmentation import SegmentationMetric, confusion, mean_iou
from cvflow.types import DatasetInfo, Prediction, Row

BACKGROUND = {"background", *VOID_NAMES}
"""Names of classes that are drawn in no colour."""
NAMED = 3
"""Classes that a caption names."""


class MaskAnswer(BaseAnswer):
    """``mask``, class indices in an 8-bit PNG of the original's size, 255 = void; truths are the same."""

    name = "mask"
    columns: Mapping[str, str] = {"mask": "binary"}
    heavy = frozenset({"mask"})
    quality_name = "mean IoU of the image"
    figures: Figures = {"miou": "max", "pixel_accuracy": "max", "mean_accuracy": "max"}

    def metric(self, info: DatasetInfo) -> Metric:
        return SegmentationMetric(info.classes, mask.decode)

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        """Return the mean IoU over the classes that are in the image or in the answer."""
        labels = mask.decode(prediction.values["mask"])
        return mean_iou(confusion(truth["mask"], labels, len(self.info.classes)))

    def caption(self, values: Mapping[str, Any]) -> str:
        """Return the classes with the most pixels and their shares."""
        counts = mask.count(mask.decode(values["mask"]))[: len(self.info.classes)]
        largest_first = np.argsort(-counts, kind="stable")[:NAMED]
        names = [f"{self.info.classes[i]} {counts[i] / counts.sum():.0%}" for i in largest_first if counts[i]]
        return ", ".join(names) or "nothing known"

    def draw(self, image: Pixels, values: Mapping[str, Any]) -> Pixels:
        from cvflow.draw.annotated import overlaid

        clear = [i for i, name in enumerate(self.info.classes) if name.lower() in BACKGROUND]
        return overlaid(image, mask.decode(values["mask"]), clear)

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        return {".png": prediction.values["mask"]}

    def guess(self, train: Iterable[Row]) -> Guess:
        """The class with the most pixels, everywhere."""
        counts = np.zeros(256, np.int64)
        for row in train:
            counts += mask.count(mask.decode(row["mask"]))
        most_frequent = int(np.argmax(counts[: len(self.info.classes)]))

        def guess(row: Row) -> Mapping[str, Any]:
            size = decode(row["image"]).shape[:2]
            return {"mask": mask.encode(np.full(size, most_frequent, np.uint8))}

        return guess
