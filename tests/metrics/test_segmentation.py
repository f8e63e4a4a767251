"""mIoU and accuracies against scikit-learn and by hand; equal however the images are divided."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from cvflow.annotations import mask
from cvflow.draw import block_of
from cvflow.errors import CvflowError
from cvflow.metrics.segmentation import SegmentationMetric, confusion, mean_iou
from cvflow.types import Prediction

CLASSES = ("sky", "road", "tree", "car")
Labels = mask.Labels


def measured(*pairs: tuple[Labels, Labels]) -> SegmentationMetric:
    """(true, said) of each image."""
    metric = SegmentationMetric(CLASSES, mask.decode)
    metric.update(
        [Prediction(str(i), {"mask": mask.encode(said)}) for i, (_, said) in enumerate(pairs)],
        [{"mask": t} for t, _ in pairs],
    )
    return metric


def images(count: int, seed: int = 0, classes: int = 4) -> list[tuple[Labels, Labels]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(3, 9, (count, 2))
    true = [random.integers(0, classes, size).astype(np.uint8) for size in sizes]
    said = [
        np.where(random.random(t.shape) < 0.6, t, random.integers(0, 4, t.shape)).astype(np.uint8)
        for t in true
    ]
    for t in true:
        t[random.random(t.shape) < 0.1] = mask.VOID
    return list(zip(true, said, strict=True))


def test_by_hand() -> None:
    """Sky: 2 of 3 found, 1 more said; road: 1 of 2 found, 1 more; no tree, no car; one void."""
    true = np.array([[0, 0, 0], [1, 1, 255]], np.uint8)
    said = np.array([[0, 0, 1], [1, 0, 3]], np.uint8)
    found = measured((true, said)).compute()
    assert found == {
        "miou": pytest.approx((2 / 4 + 1 / 3) / 2),
        "pixel_accuracy": 3 / 5,
        "mean_accuracy": pytest.approx((2 / 3 + 1 / 2) / 2),
    }


@pytest.mark.parametrize("classes", [4, 2])
def test_scikit_learn(classes: int) -> None:
    pairs = images(12, classes=classes)
    metric = measured(*pairs)
    true, said = (np.concatenate([side.ravel() for side in sides]) for sides in zip(*pairs, strict=True))
    known = true != mask.VOID
    true, said = true[known], said[known]
    found = metric.compute()
    assert found["miou"] == pytest.approx(jaccard_score(true, said, average="macro"), abs=1e-12)
    assert found["pixel_accuracy"] == pytest.approx(accuracy_score(true, said), abs=1e-12)
    there = sorted(set(true.tolist()))
    assert found["mean_accuracy"] == pytest.approx(
        recall_score(true, said, average="macro", labels=there), abs=1e-12
    )
    assert metric.state() == confusion_matrix(true, said, labels=range(4)).tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.randoms())
def test_any_division_and_order_gives_the_same(owners: list[int], random: object) -> None:
    pairs = images(6)
    whole = measured(*pairs).compute()
    shuffled = list(zip(owners, pairs, strict=True))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    merged = SegmentationMetric(CLASSES, mask.decode)
    for worker in range(3):
        merged.merge(measured(*(pair for owner, pair in shuffled if owner == worker)).state())
    assert merged.compute() == whole


def test_of_nothing_all_is_nan() -> None:
    assert all(math.isnan(value) for value in measured().compute().values())
    void = np.full((2, 2), mask.VOID, np.uint8)
    assert all(math.isnan(value) for value in measured((void, void * 0)).compute().values())


def test_an_image_s_own_miou() -> None:
    true, said = np.array([[0, 1]], np.uint8), np.array([[0, 2]], np.uint8)
    assert mean_iou(confusion(true, said, 4)) == pytest.approx(1 / 3)


def test_wrong_answers_are_refused() -> None:
    small, large = np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)
    with pytest.raises(CvflowError, match=r"0: got a mask of \(2, 3\) pixels, expected \(2, 2\)"):
        measured((small, large))
    with pytest.raises(CvflowError, match="0: got the label 4, expected one below 4"):
        measured((small, small + 4))


def test_details_are_blocks() -> None:
    details = measured(*images(3, classes=2)).details()
    assert [type(block_of(figure, name)).__name__ for name, figure in details.items()] == ["Table", "Matrix"]
    rows = {row[0]: row for row in details["per_class"]["rows"]}
    assert rows["car"][1:3] == [0, 0.0]
    assert rows["car"][4] is None
