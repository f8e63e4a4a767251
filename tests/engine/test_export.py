"""A model as two files: written alike twice, read back whole, refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.export import read_model, without_downloads, write_model
from cvflow.engine.job import make_job
from cvflow.engine.session import Session
from cvflow.errors import RequestError

FILES = ("model.json", "model.safetensors")


@pytest.fixture
def written(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session], tmp_path: Path
) -> Path:
    """A LeNet as initialised."""
    job = make_job(recipe(), digits, session())
    plain = job.recipe.model_dump(mode="json", by_alias=True)
    for name in ("model", "again"):
        write_model(tmp_path / name, job.model.state_dict(), plain, digits.info, "f" * 32, "d" * 32 + ".dir")
    return tmp_path / "model"


def test_the_same_training_writes_the_same_bytes(written: Path) -> None:
    for name in FILES:
        assert (written / name).read_bytes() == (written.parent / "again" / name).read_bytes()


def test_it_comes_back_whole_and_in_evaluation_mode(
    written: Path, digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session]
) -> None:
    trained = read_model(written)
    job = make_job(recipe(), digits, session("other"))
    assert not trained.model.training
    assert trained.info == digits.info
    assert (trained.fingerprint, trained.data_digest) == ("f" * 32, "d" * 32 + ".dir")
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(trained.model(images), job.model.eval()(images))


def test_a_model_is_read_without_its_starting_weights(written: Path) -> None:
    content = json.loads((written / "model.json").read_text())
    content["recipe"]["model"]["weights"] = "/gone/from/this/machine.safetensors"
    (written / "model.json").write_text(json.dumps(content))
    assert read_model(written).recipe.model.weights is None
    assert without_downloads({"a": [{"pretrained": True, "depth": 3}]}) == {
        "a": [{"pretrained": False, "depth": 3}]
    }


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(written: Path, name: str) -> None:
    (written / name).write_bytes((written / name).read_bytes()[:100])
    with pytest.raises(RequestError, match=name):
        read_model(written)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(written: Path, name: str) -> None:
    (written / name).unlink()
    with pytest.raises(RequestError, match=name):
        read_model(written)


def test_weights_of_another_network_are_refused(written: Path) -> None:
    content = json.loads((written / "model.json").read_text())
    content["dataset"]["classes"] = content["dataset"]["classes"][:3]
    (written / "model.json").write_text(json.dumps(content))
    with pytest.raises(
        RequestError, match=r"model\.safetensors.*expected the weights that model\.json describes"
    ):
        read_model(written)


def test_a_later_format_is_refused(written: Path) -> None:
    (written / "model.json").write_text('{"format": 99}')
    with pytest.raises(RequestError, match="format 99, expected format 1"):
        read_model(written)
