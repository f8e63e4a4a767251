"""The file that MLflow's own serving executes: a registered model as a pyfunc (models-from-code)."""

from __future__ import annotations

import base64
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

NOT_TEXT = "not the base64 text of an image file"


class CvflowModel(PythonModel):
    """Answers rows that hold an encoded image (PNG, JPEG, ...), as bytes or as base64 text."""

    def load_context(self, context: PythonModelContext) -> None:
        import cvflow

        self.model = cvflow.load(context.artifacts["model"])

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """One mapping a row: ``class``, ``probabilities``, ...; ``error`` alone where there is no image that can be read.

        What is a file (the PNG of a mask) is base64 text.
        """
        images = [decoded(value) for value in column(model_input)]
        answers = map(as_text, self.model.predict([image for image in images if image is not None]))
        return [{"error": NOT_TEXT} if image is None else next(answers) for image in images]


def as_text(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, its bytes as base64 text: JSON has none."""
    return {name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in answer.items()}


def column(model_input: pd.DataFrame) -> list[Any]:
    """The images of a request; of one that came as ``inputs``, MLflow makes a single cell that holds them all."""
    cells = model_input["image"]
    return [image for cell in cells for image in (cell if isinstance(cell, list) else [cell])]


def decoded(value: object) -> bytes | None:
    """The image's bytes; None where there are none. Text is base64 and nothing else: a path in a request is never opened."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except ValueError:  # not ASCII, or not base64
        return None


mlflow.models.set_model(CvflowModel())
