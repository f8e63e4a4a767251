"""Linear classifiers fitted to features in closed form or by convex optimisation (scikit-learn), as
weights of a linear layer.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cvflow.errors import CvflowError, Fault, RequestError

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Estimator = Literal["linear", "svm"]
MAX_ITERATIONS = 2000
NEVER = -30.0
"""The bias of a class without samples: its probability is 1e-13 beside a score of 0."""
CONSTANT = 1e-12
"""The standard deviation below which a feature is taken for constant."""


@dataclass(frozen=True)
class LinearLayer:
    """scores = x @ weight.T + bias. weight: classes x F; bias: classes. warnings: what the solver
    objected to.
    """

    weight: Array
    bias: Array
    warnings: tuple[str, ...] = ()

    def accuracy(self, x_NF: Array, label_N: Labels) -> float:
        """Return the share of samples whose label has the greatest score."""
        score_NC = x_NF @ self.weight.T + self.bias
        return float((score_NC.argmax(1) == label_N).mean())


def fit_linear(
    estimator: Estimator,
    c: float,
    x_NF: Array,
    label_N: Labels,
    weight_N: Array,
    num_classes: int,
    seed: int,
) -> LinearLayer:
    """Fit multinomial logistic regression, or a linear support vector machine, one class against the rest.

    Features are standardised for the fit, which is then folded into the weights: ``c`` (1 /
    regularisation) means the same for every backbone. The machine's scores are read as logits: its
    answers are right, its probabilities are not calibrated. One BLAS thread, so that the result
    depends on the input alone.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC
    from threadpoolctl import threadpool_limits

    check(x_NF, label_N)
    mean_F = x_NF.mean(0)
    scale_F = x_NF.std(0)
    scale_F[scale_F < CONSTANT] = 1.0
    options = {"C": c, "random_state": seed, "max_iter": MAX_ITERATIONS}
    solver = LogisticRegression(**options) if estimator == "linear" else LinearSVC(**options)
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        solver.fit((x_NF - mean_F) / scale_F, label_N, sample_weight=weight_N)
    coefficients, intercept = solver.coef_, solver.intercept_
    if len(solver.classes_) == 2:
        # one score for two classes: below zero for the first, above for the second
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercept = np.hstack([-intercept, intercept]) / 2
    weight_CF = np.zeros((num_classes, x_NF.shape[1]))
    bias_C = np.full(num_classes, NEVER)
    weight_CF[solver.classes_] = coefficients / scale_F
    bias_C[solver.classes_] = intercept - weight_CF[solver.classes_] @ mean_F
    messages = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    return LinearLayer(weight_CF, bias_C, tuple(messages))


def check(x_NF: Array, label_N: Labels) -> None:
    """Raise if there is nothing to fit."""
    if len(np.unique(label_N)) < 2:
        got = "fit on images of one class"
        raise RequestError(Fault("train.kind", got, "at least two classes in the train split"))
    if not np.isfinite(x_NF).all():
        raise CvflowError(
            "The features are not finite: the weights to start from "
            "are spoilt, or the pixels' statistics are wrong."
        )
