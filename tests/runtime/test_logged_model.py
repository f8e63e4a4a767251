"""A model of image pairs as MLflow loads it: a column for each image of the task."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from cvflow.annotations import flow
from cvflow.annotations.image import encode_png
from cvflow.config import Recipe
from cvflow.engine.export import write_model
from cvflow.engine.job import make_task
from cvflow.runtime.logged_model import save
from cvflow.types import DatasetInfo

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings(
        "ignore:.*Any type hint is inferred as AnyType"
    ),  # MLflow's own, while it imports itself
]


@pytest.fixture
def pair_model(tmp_path: Path) -> Path:
    """The directory of an optical flow network as initialised, a card beside it."""
    network = {"name": "correlation_flow", "channels": [8, 8, 8], "width": 8}
    data = {
        "task": "flow",
        "data": {"format": "layered_scenes"},
        "image": {"size": [16, 24]},
        "model": network,
    }
    recipe, info = (
        Recipe.model_validate(data),
        DatasetInfo("flow", (), {"train": 2}, (0.5,) * 3, (0.5,) * 3, "x"),
    )
    tensors = make_task(recipe, info).build(recipe, info).state_dict()
    write_model(
        tmp_path / "model",
        tensors,
        recipe.model_dump(mode="json", by_alias=True),
        info,
        "1" * 32,
        "0" * 32 + ".dir",
    )
    (tmp_path / "card.md").write_text("# motion")
    return tmp_path / "model"


def test_a_pair_is_answered_from_two_columns(pair_model: Path, tmp_path: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    save(tmp_path / "saved", pair_model, tmp_path / "card.md", Model())  # type: ignore[no-untyped-call]
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    assert loaded.metadata.get_input_schema().input_names() == ["first", "second"]
    png = encode_png(np.arange(108, dtype=np.uint8).reshape(9, 12))
    text, small = base64.b64encode(png).decode(), encode_png(np.zeros((4, 4), np.uint8))
    asked = {"first": [png, text, b"no image", png, png], "second": [text, png, png, "no text!", small]}
    one, other, *wrong = loaded.predict(pd.DataFrame(asked))
    assert one == other
    assert flow.decode(base64.b64decode(one["flow"])).shape == (9, 12, 2)
    assert [answer["error"] for answer in wrong] == [
        "not an image",
        "not the base64 text of an image file",
        "first and second of different sizes: 4x4, 12x9",
    ]
    (served,) = loaded.predict(
        pd.DataFrame([{"first": [text], "second": [text]}])
    )  # as MLflow makes it of {"inputs": {...}}
    np.testing.assert_allclose(
        *(flow.decode(base64.b64decode(answer["flow"])) for answer in (served, one)), atol=1e-4
    )
    with pytest.raises(MlflowException, match="second"):
        loaded.predict(pd.DataFrame({"first": [png]}))
