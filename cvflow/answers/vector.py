"""A vector for each image, by which images are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cvflow.answers.base import BaseAnswer, Figures, Guess, Metric
from cvflow.loading.loader import seed_of
from cvflow.metrics.embedding import RANKS, WAYS, EmbeddingMetric
from cvflow.metrics.verification import FARS
from cvflow.types import DatasetInfo, Prediction, Row

CHANCE_DIM = 32
"""Length of the vectors that ``guess`` draws."""


class VectorAnswer(BaseAnswer):
    """``embedding``, a list of numbers; truths are ``identity``, an index of the identities."""

    name = "embedding"
    columns: Mapping[str, str] = {"embedding": "list<float>"}
    compared_by = "embedding"
    figures: Figures = {
        **{f"recall_at_{k}": "max" for k in RANKS},
        **{f"rank_{k}": "max" for k in RANKS},
        f"one_shot_{WAYS}_way": "max",
        **{f"tar_at_far_{far}": "max" for far in FARS},
        "equal_error_rate": "min",
        "eer_threshold": "max",
        "auc": "max",
    }

    def bind(self, info: DatasetInfo) -> None:
        super().bind(info)
        if len(info.classes) < WAYS:
            name = f"one_shot_{WAYS}_way"
            self.figures = {figure: best for figure, best in self.figures.items() if figure != name}

    def metric(self, info: DatasetInfo) -> Metric:
        return EmbeddingMetric(info.classes)

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        """Return NaN: one vector alone is neither good nor bad."""
        return math.nan

    def caption(self, values: Mapping[str, Any]) -> str:
        if "identity" in values:
            return self.info.classes[int(values["identity"])]
        return f"{len(values['embedding'])} numbers"

    def guess(self, train: Iterable[Row]) -> Guess:
        """A direction for each image, drawn by its id: neighbours are found by chance."""

        def guess(row: Row) -> Mapping[str, Any]:
            generator = np.random.default_rng(seed_of(row["id"]))
            return {"embedding": generator.standard_normal(CHANCE_DIM).tolist()}

        return guess
