"""Each figure against scikit-learn; any order and division of the data gives the same bits."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from cvflow.errors import CvflowError
from cvflow.metrics.classification import ClassificationMetric
from cvflow.types import Prediction

CLASSES = tuple("abcdefgh")


def random_answers(count=200, classes=CLASSES, never=None, seed=0):
    """(predictions, targets, true labels N, probabilities NxC); class ``never`` is never predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(classes), size=count)
    scores = rng.random((count, len(classes))) + 0.7 * np.eye(len(classes))[labels]
    if never is not None:
        scores[:, never] = 1e-3
    probabilities = scores / scores.sum(1, keepdims=True)
    predictions = [
        Prediction(str(i), {"class": classes[p.argmax()], "probabilities": p.tolist()})
        for i, p in enumerate(probabilities)
    ]
    return predictions, [{"label": int(y)} for y in labels], labels, probabilities


def expected_calibration_error(y, p, bins=15):
    """(error, [samples, confidence, accuracy] a bin) by Guo et al.'s formula, in NumPy."""
    confidence, right = p.max(1), p.argmax(1) == y
    which = np.digitize(confidence, np.linspace(0, 1, bins + 1), right=True) - 1
    members = [which == b for b in range(bins)]
    rows = [(m.sum(), confidence[m].mean(), right[m].mean()) if m.any() else (0, None, None) for m in members]
    return sum(n / len(y) * abs(r - c) for n, c, r in rows if n), rows


def measured(predictions, targets, classes=CLASSES):
    metric = ClassificationMetric(classes)
    metric.update(predictions, targets)
    return metric


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    predictions, targets, y, p = random_answers(seed=seed)
    said = p.argmax(1)
    expected = {
        "accuracy": reference.accuracy_score(y, said),
        "top5_accuracy": reference.top_k_accuracy_score(y, p, k=5, labels=range(8)),
        "macro_f1": reference.f1_score(y, said, average="macro"),
        "log_loss": reference.log_loss(y, p, labels=range(8)),
        "calibration_error": expected_calibration_error(y, p)[0],
    }
    assert measured(predictions, targets).compute() == pytest.approx(expected, abs=1e-12)


def test_details_agree_with_scikit_learn():
    predictions, targets, y, p = random_answers()
    details = measured(predictions, targets).details()
    assert details["confusion"]["values"] == reference.confusion_matrix(y, p.argmax(1)).tolist()
    precision, recall, f1, support = reference.precision_recall_fscore_support(y, p.argmax(1))
    for found, row in zip(details["reliability"]["bins"], expected_calibration_error(y, p)[1], strict=True):
        assert found == [value if value is None else pytest.approx(value) for value in row]
    for row, *expected in zip(details["per_class"]["rows"], precision, recall, f1, support, strict=True):
        assert row[1:] == pytest.approx(expected)
    json.dumps(details)


def test_a_class_never_predicted_has_no_precision_and_an_f1_of_zero():
    predictions, targets, y, p = random_answers(never=2)
    metric = measured(predictions, targets)
    assert metric.details()["per_class"]["rows"][2] == ["c", None, 0.0, 0.0, int((y == 2).sum())]
    assert metric.compute()["macro_f1"] == pytest.approx(
        reference.f1_score(y, p.argmax(1), average="macro", zero_division=0)
    )


def test_a_class_neither_present_nor_predicted_is_left_out_of_macro_f1():
    predictions = [Prediction("0", {"class": "a", "probabilities": [0.9, 0.1, 0.0]})]
    metric = measured(predictions, [{"label": 0}], ("a", "b", "c"))
    assert metric.compute()["macro_f1"] == 1.0
    assert metric.details()["per_class"]["rows"][1] == ["b", None, None, None, 0]


@pytest.mark.parametrize(("confidence", "bin"), [(0.0, 0), (1 / 15, 0), (0.5, 7), (0.9334, 14), (1.0, 14)])
def test_a_confidence_at_the_edge_of_a_bin(confidence, bin):
    metric = measured(
        [Prediction("0", {"class": "a", "probabilities": [confidence, 1 - confidence]})],
        [{"label": 0}],
        ("a", "b"),
    )
    assert metric.details()["reliability"]["bins"][bin] == [1, pytest.approx(confidence, abs=1e-15), 1.0]
    assert metric.compute()["calibration_error"] == pytest.approx(1 - confidence)


def test_of_nothing_all_is_nan():
    result = ClassificationMetric(CLASSES).compute()
    assert list(result) == ["accuracy", "top5_accuracy", "macro_f1", "log_loss", "calibration_error"]
    assert all(math.isnan(v) for v in result.values())


@pytest.mark.parametrize("classes", ["abcde", "ab"])
def test_top5_is_not_reported_for_five_classes_or_fewer(classes):
    predictions, targets, *_ = random_answers(classes=tuple(classes))
    assert list(measured(predictions, targets, tuple(classes)).compute()) == [
        "accuracy",
        "macro_f1",
        "log_loss",
        "calibration_error",
    ]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_merged_parts_in_any_order_equal_the_whole_to_the_bit(parts):
    predictions, targets, *_ = random_answers(count=500)
    merged = ClassificationMetric(CLASSES)
    for i in reversed(range(parts)):
        state = measured(predictions[i::parts], targets[i::parts]).state()
        merged.merge(json.loads(json.dumps(state)))
    whole = measured(predictions, targets)
    assert merged.compute() == whole.compute()
    assert merged.details() == whole.details()


def test_state_is_a_copy():
    predictions, targets, *_ = random_answers(count=3)
    metric = measured(predictions, targets)
    state, before = metric.state(), metric.compute()
    metric.update(predictions, targets)
    other = ClassificationMetric(CLASSES)
    other.merge(state)
    assert other.compute() == before


def test_a_sure_mistake_costs_as_much_as_in_scikit_learn():
    predictions = [
        Prediction("0", {"class": "a", "probabilities": [1.0, 0.0]}),
        Prediction("1", {"class": "a", "probabilities": [1.0, 0.0]}),
    ]
    result = measured(predictions, [{"label": 0}, {"label": 1}], ("a", "b")).compute()
    assert result["log_loss"] == pytest.approx(
        reference.log_loss([0, 1], np.array([[1.0, 0.0], [1.0, 0.0]]), labels=[0, 1])
    )


def test_a_diverged_model_does_not_look_good():
    predictions = [Prediction("0", {"class": "a", "probabilities": [math.nan] * 8})]
    result = measured(predictions, [{"label": 7}]).compute()
    assert result["top5_accuracy"] == 0
    assert result["log_loss"] == pytest.approx(36.04, abs=0.01)
    assert result["calibration_error"] == 1


@pytest.mark.parametrize(
    ("said", "probabilities", "label"),
    [("z", [0.5, 0.5], 0), ("a", [0.5, 0.5], 2), ("a", [0.5, 0.5], -1), ("a", [1.0], 0)],
)
def test_what_the_dataset_does_not_have_is_refused(said, probabilities, label):
    with pytest.raises(CvflowError, match="img-7: got"):
        measured(
            [Prediction("img-7", {"class": said, "probabilities": probabilities})],
            [{"label": label}],
            ("a", "b"),
        )
