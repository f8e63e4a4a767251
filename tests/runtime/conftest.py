"""Real digits, a model on them, and the same pictures in every form that batch inference reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cvflow.config import Compute, Recipe, SplitRule
from cvflow.data.dataset import PreparedDataset
from cvflow.data.prepare import prepare
from cvflow.engine.export import write_model
from cvflow.engine.job import make_task
from cvflow.registry import Component, build
from cvflow.tasks.classification import Classification

PICTURES = 90


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """323 digits to train on, 36 to validate, 1438 to test."""
    out = tmp_path_factory.mktemp("digits") / "data"
    prepare(build("format", Component(name="digits"), None), Classification.schema, "classification", SplitRule(test=0.8), out, 64)
    return PreparedDataset(out)


@pytest.fixture(scope="session")
def model(digits: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of a network as initialised: its answers differ from picture to picture, which is all that is needed."""
    sections = {"task": "classification", "data": {"format": "digits"}, "image": {"size": (8, 8), "channels": 1}}
    recipe = Recipe.model_validate({**sections, "model": {"name": "classifier", "backbone": "mlp"}})
    torch.manual_seed(0)
    tensors = make_task(recipe, digits.info).build(recipe, digits.info).state_dict()
    out = tmp_path_factory.mktemp("model") / "model"
    write_model(out, tensors, recipe.model_dump(mode="json", by_alias=True), digits.info, "f" * 32, digits.digest)
    return out


@pytest.fixture(scope="session")
def pictures(digits: PreparedDataset) -> list[bytes]:
    """PNG files; the first eight and two others are not."""
    reader = digits.split("test")
    good = [reader[i]["image"] for i in range(PICTURES)]
    return [b"no picture" if i < 8 or i in (20, PICTURES - 1) else data for i, data in enumerate(good)]


@pytest.fixture
def source(tmp_path: Path, digits: PreparedDataset, pictures: list[bytes]) -> Callable[[str], tuple[Path, list[str]]]:
    """Of a kind: its path and the ids that its answers must have, in order."""

    def make(kind: str) -> tuple[Path, list[str]]:
        path = tmp_path / kind
        names = [f"{'ab'[i % 2]}/{i:03d}.png" for i in range(PICTURES)]
        if kind == "prepared":
            reader = digits.split("test")
            return digits.path, [reader[i]["id"] for i in range(len(reader))]
        if kind == "folder":
            for name, data in zip(names, pictures, strict=True):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
            (path / "notes.txt").write_text("no picture")
            return path, sorted(names)
        if kind == "image":
            path.mkdir()
            (path / "one.png").write_bytes(pictures[-2])
            return path / "one.png", ["one.png"]
        file = path.with_suffix(".parquet")
        if kind == "bytes":
            table = pa.table({"label": range(PICTURES), "id": names, "image": pictures})
        else:  # as Hugging Face writes them; the first ones without their bytes
            cells = [{"bytes": None if i < 8 else data, "path": name} for i, (data, name) in enumerate(zip(pictures, names, strict=True))]
            table, names = pa.table({"image": cells}), [str(i) for i in range(PICTURES)]
        pq.write_table(table, file, row_group_size=40)
        return file, names

    return make


@pytest.fixture(scope="module")
def local_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """One local Ray for the module; functions of its file travel to the workers as they stand."""
    import ray
    from ray import cloudpickle

    from cvflow.runtime.ray_train import connect

    cloudpickle.register_pickle_by_value(request.module)
    connect(Compute())
    yield
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(request.module)
