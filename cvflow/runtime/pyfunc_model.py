"""The file that MLflow's own serving executes: a registered model as a pyfunc (models-from-code)."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class CvflowModel(PythonModel):
    """Answers rows that hold an encoded image (PNG, JPEG, ...), as bytes or as base64 text."""

    def load_context(self, context: PythonModelContext) -> None:
        import cvflow

        self.model = cvflow.load(context.artifacts["model"])

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """One mapping a row: ``class``, ``probabilities``, ...; ``error`` where the image cannot be read."""
        return self.model.predict([decoded(value, row) for row, value in enumerate(model_input["image"])])


def decoded(value: object, row: int) -> bytes:
    """The image's bytes. Text is base64 and nothing else: a path in a request is never opened."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(str(value), validate=True)
    except binascii.Error as error:
        raise MlflowException.invalid_parameter_value(f"row {row}, column 'image': expected base64 text of an image file") from error


mlflow.models.set_model(CvflowModel())
