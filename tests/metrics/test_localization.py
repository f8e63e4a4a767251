"""Class right, box right, both; against torchvision's IoU and by hand; equal however images are divided."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from cvflow.draw import block_of
from cvflow.metrics.localization import LocalizationMetric, iou
from cvflow.types import Prediction

CLASSES = ("ant", "bee", "cow")


def boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    corners = np.sort(random.uniform(0, 40, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


def measured(truths: list[dict], answers: list[dict]) -> LocalizationMetric:
    metric = LocalizationMetric(CLASSES)
    metric.update([Prediction(str(i), answer) for i, answer in enumerate(answers)], truths)
    return metric


def test_iou_is_torchvision_s() -> None:
    a, b = boxes(200, 0), boxes(200, 1)
    theirs = box_iou(torch.from_numpy(a), torch.from_numpy(b)).diagonal()
    assert [iou(x, y) for x, y in zip(a, b, strict=True)] == pytest.approx(theirs.tolist(), abs=1e-6)


@pytest.mark.parametrize("empty", [[3, 3, 3, 9], [5, 5, 1, 1]])
def test_a_box_without_area_overlaps_nothing(empty: list[float]) -> None:
    assert iou(empty, [0, 0, 10, 10]) == iou(empty, empty) == 0


def test_by_hand() -> None:
    """IoU 1, 0.5 (half of it), and 1/3: the class is right in the first and the last."""
    truths = [{"label": i, "box": [0, 0, 10, 10]} for i in (0, 1, 2)]
    answers = [
        {"class": name, "box": [0, 0, right, 10]} for name, right in (("ant", 10), ("cow", 5), ("cow", 30))
    ]
    found = measured(truths, answers).compute()
    assert found == {
        "accuracy": 1 / 3,
        "box_accuracy": 2 / 3,
        "class_accuracy": 2 / 3,
        "mean_iou": pytest.approx((1 + 0.5 + 1 / 3) / 3),
    }


def test_any_division_gives_the_same() -> None:
    random = np.random.default_rng(2)
    truths = [
        {"label": int(label), "box": box}
        for label, box in zip(random.integers(0, 3, 60), boxes(60, 3), strict=True)
    ]
    answers = [
        {"class": CLASSES[i], "box": (box + 1).tolist()}
        for i, box in zip(random.integers(0, 3, 60), boxes(60, 3), strict=True)
    ]
    whole = measured(truths, answers).compute()
    for parts in (2, 3, 7):
        merged = LocalizationMetric(CLASSES)
        for part in reversed(range(parts)):
            merged.merge(measured(truths[part::parts], answers[part::parts]).state())
        assert merged.compute() == whole


def test_of_nothing_all_is_nan_and_details_are_blocks() -> None:
    assert all(math.isnan(value) for value in measured([], []).compute().values())
    details = measured([{"label": 0, "box": [0, 0, 1, 1]}], [{"class": "bee", "box": [0, 0, 1, 1]}]).details()
    assert [type(block_of(figure, name)).__name__ for name, figure in details.items()] == ["Table", "Matrix"]
    assert details["confusion"]["values"] == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert details["per_class"]["rows"] == [
        ["ant", 1, 0.0, 1.0, 0.0, 1.0],
        ["bee", 0, *[None] * 4],
        ["cow", 0, *[None] * 4],
    ]
