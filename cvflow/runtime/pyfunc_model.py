"""The file that MLflow's own serving executes: a registered model as a pyfunc (models-from-code)."""

from __future__ import annotations

import base64
from itertools import zip_longest
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

NOT_TEXT = "not the base64 text of an image file"


class CvflowModel(PythonModel):
    """Answers rows that hold the task's encoded images (PNG, JPEG, ...), a column each, as bytes or
    as base64 text.
    """

    def load_context(self, context: PythonModelContext) -> None:
        import cvflow

        self.model = cvflow.load(context.artifacts["model"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One mapping a row: ``class``, ``probabilities``, ...; ``error`` alone where an image
        cannot be read, or is not there.

        What is a file (the PNG of a mask) is base64 text.
        """
        columns: dict[str, Any] = {
            name: map(decoded, column(model_input, name)) for name in self.model.images
        }
        rows: list[dict[str, Any]] = [
            dict(zip(columns, row, strict=True)) for row in zip_longest(*columns.values())
        ]
        complete = [None not in row.values() for row in rows]
        answers = map(
            as_text, self.model.predict([row for row, good in zip(rows, complete, strict=True) if good])
        )
        return [next(answers) if good else {"error": NOT_TEXT} for good in complete]


def as_text(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, its bytes as base64 text: JSON has none."""
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in answer.items()
    }


def column(model_input: pd.DataFrame, name: str) -> list[Any]:
    """The images of this name in a request; of one that came as ``inputs``, MLflow makes a single
    cell that holds them all.
    """
    cells = model_input[name]
    return [image for cell in cells for image in (cell if isinstance(cell, list) else [cell])]


def decoded(value: object) -> bytes | None:
    """The image's bytes; None where there are none.

    Text is base64 and nothing else: a path in a request is never opened.
    """
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:  # not ASCII, or not base64
        return None


mlflow.models.set_model(CvflowModel())
