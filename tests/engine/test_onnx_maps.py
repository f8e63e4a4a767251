"""Models of tasks besides classification as ONNX: maps, boxes, distances in pixels, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvflow.config import Recipe
from cvflow.engine.export import TrainedModel
from cvflow.engine.job import make_task
from cvflow.engine.onnx import export_onnx, gap
from cvflow.types import DatasetInfo

SMALL = {"name": "unet", "width": 4, "levels": 3}


@pytest.mark.parametrize(
    ("task", "model", "outputs"),
    [
        ("segmentation", {"name": "unet", "backbone": SMALL}, ("probabilities",)),
        pytest.param(
            "segmentation", {"name": "fcn", "backbone": SMALL}, ("probabilities",), marks=pytest.mark.slow
        ),
        pytest.param(
            "segmentation", {"name": "segnet", "width": 4}, ("probabilities",), marks=pytest.mark.slow
        ),
        pytest.param(
            "segmentation",
            {"name": "deeplabv3", "backbone": SMALL},
            ("probabilities",),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "stereo",
            {"name": "cost_volume_stereo", "max_disparity": 12, "channels": 8, "depth": 1},
            ("disparity",),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "flow",
            {"name": "correlation_flow", "channels": [8, 8, 8], "width": 8},
            ("flow",),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "localization",
            {"name": "localizer", "backbone": SMALL},
            ("probabilities", "boxes"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_onnxruntime_answers_as_torch(
    task: str, model: dict[str, Any], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    info = DatasetInfo(task, ("a", "b", "c"), {"train": 2}, (0.5,) * 3, (0.25,) * 3, "0" * 32)
    recipe = Recipe.model_validate(
        {"task": task, "data": {"format": "digits"}, "image": {"size": (50, 36)}, "model": model}
    )
    torch.manual_seed(0)
    made = make_task(recipe, info)
    trained = TrainedModel(recipe, made, info, made.build(recipe, info).eval(), "f" * 32, "d" * 32 + ".dir")
    written = export_onnx(trained, tmp_path / "model.onnx")
    assert written.difference <= 1e-4
    assert (written.checked, written.outputs) == (8, outputs)


def test_pixels_are_compared_by_their_size() -> None:
    far, near = np.array([200.0, 4.0], np.float32), np.array([0.5, 0.1], np.float32)
    assert gap(far + np.float32(0.1), far) == pytest.approx(0.0005, rel=1e-3)
    assert gap(near + np.float32(0.01), near) == pytest.approx(0.01, rel=1e-3)
    assert np.isnan(gap(near * np.float32(np.nan), near))
