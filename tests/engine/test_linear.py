"""Linear classifiers fitted to features: the same answers as scikit-learn's own, as weights of one layer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from cvflow.engine.linear import Estimator, LinearLayer, fit_linear
from cvflow.errors import CvflowError, RequestError


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return found.data.astype(np.float64), found.target.astype(np.int64)


def scores(fitted: LinearLayer, x: np.ndarray) -> np.ndarray:
    return x @ fitted.weight.T + fitted.bias


@pytest.mark.parametrize(("estimator", "solver"), [("linear", LogisticRegression), ("svm", LinearSVC)])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_layer_answers_as_the_pipeline_does(
    digits: tuple, estimator: Estimator, solver: type, classes: int
) -> None:
    x, label = (column[digits[1] < classes] for column in digits)
    fitted = fit_linear(estimator, 0.1, x, label, np.ones(len(x)), classes, 0)
    pipeline = make_pipeline(StandardScaler(), solver(C=0.1, random_state=0, max_iter=2000)).fit(x, label)
    assert (scores(fitted, x).argmax(1) == pipeline.predict(x)).all()
    assert fitted.accuracy(x, label) > 0.97
    assert fitted.warnings == ()
    if estimator == "linear":
        exact = np.exp(scores(fitted, x))
        assert np.allclose(exact / exact.sum(1, keepdims=True), pipeline.predict_proba(x), atol=1e-6)


def test_a_class_without_samples_is_never_the_answer(digits: tuple) -> None:
    x, label = (column[digits[1] != 3] for column in digits)
    fitted = fit_linear("linear", 1.0, x, label, np.ones(len(x)), 12, 0)
    answers = scores(fitted, digits[0]).argmax(1)
    assert set(answers) == set(range(10)) - {3}


def test_a_weight_of_zero_leaves_a_sample_out(digits: tuple) -> None:
    x, label = digits
    wrong = np.where(np.arange(len(x)) % 2 == 0, (label + 1) % 10, label)
    right = np.arange(len(x)) % 2 == 1
    fitted = fit_linear("linear", 1.0, x, wrong, right.astype(np.float64), 10, 0)
    assert fitted.accuracy(x, label) > 0.95


def test_a_constant_feature_does_no_harm(digits: tuple) -> None:
    x, label = digits
    assert (x.std(0) == 0).any()
    assert np.isfinite(fit_linear("svm", 1.0, x, label, np.ones(len(x)), 10, 0).weight).all()


def test_what_cannot_be_fitted_is_said(digits: tuple) -> None:
    x, label = digits
    with pytest.raises(RequestError, match="fit on images of one class"):
        fit_linear("linear", 1.0, x, np.zeros_like(label), np.ones(len(x)), 10, 0)
    with pytest.raises(CvflowError, match="not finite"):
        fit_linear("linear", 1.0, np.where(x == 5, np.nan, x), label, np.ones(len(x)), 10, 0)
    twice = np.repeat(x[:20], 2, 0)  # each once as this class and once as the other
    hard = fit_linear("svm", 1e6, twice, np.tile([0, 1], 20), np.ones(40), 2, 0)
    assert "converge" in hard.warnings[0]
