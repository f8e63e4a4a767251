"""Batch inference on a real pool of two Ray actors: the answers of one process, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from cvflow.config import Compute
from cvflow.errors import RequestError
from cvflow.registry import Component
from cvflow.runtime import ray_data
from cvflow.runtime.cluster import connect
from cvflow.stages.predict import predict_path

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]
HERE, TWO = (Compute(workers=n, threads=1, device="cpu") for n in (0, 2))

Source = Callable[[str], tuple[Path, list[str]]]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    connect(TWO)
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    ("kind", "block_rows"),
    [
        ("prepared", 512),
        pytest.param("folder", 8, marks=pytest.mark.slow),
        pytest.param("struct", 8, marks=pytest.mark.slow),
    ],
)
def test_two_actors_answer_as_one_process(
    kind: str, block_rows: int, source: Source, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small blocks: a whole one of unreadable pictures comes first, whose columns say nothing of
    the others.
    """
    monkeypatch.setattr(ray_data, "BLOCK_ROWS", block_rows)
    path, ids = source(kind)
    # relative paths are this process's, wherever Ray was started
    monkeypatch.chdir(path.parent)
    path = Path(path.name)
    size = 256 if kind == "prepared" else 8
    views = [Component(name="horizontal_flip")] if kind == "prepared" else []
    one = predict_path(model, "m/3", path, tmp_path / "one", HERE, size, views=views)
    two = predict_path(model, "m/3", path, tmp_path / "two", TWO, size, views=views)
    assert (two.rows, two.faults) == (one.rows, one.faults)
    here, there = (pq.read_table(written.path) for written in (one, two))
    assert there.schema == here.schema
    assert there["id"].to_pylist() == ids
    for name in ("id", "error", "class", "model_version", "data_hash"):
        assert there[name].equals(here[name])
    given = [p for p in here["probabilities"].to_pylist() if p is not None]
    np.testing.assert_allclose(
        [p for p in there["probabilities"].to_pylist() if p is not None], given, rtol=0, atol=1e-6
    )


def test_a_source_that_fails_leaves_the_old_answers(source: Source, model: Path, tmp_path: Path) -> None:
    path, _ = source("bytes")
    out = predict_path(model, "m/3", path, tmp_path / "out", HERE).path
    data = bytearray(path.read_bytes())
    last = pq.read_metadata(path).row_group(2).column(2)
    start = last.dictionary_page_offset or last.data_page_offset
    data[start : start + last.total_compressed_size] = b"\xff" * last.total_compressed_size
    path.write_bytes(data)
    with pytest.raises(
        RequestError, match=r"bytes\.parquet: got damaged content .*, expected a Parquet file that is whole"
    ):
        predict_path(model, "m/4", path, out, TWO, batch_size=8)
    assert set(pq.read_table(out)["model_version"].to_pylist()) == {"m/3"}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_more_actors_than_there_are_cpus_are_refused(source: Source, model: Path, tmp_path: Path) -> None:
    path, _ = source("image")
    with pytest.raises(RequestError, match=r"compute\.workers: got 99"):
        predict_path(model, "m/3", path, tmp_path / "out", Compute(workers=99, device="cpu"))
    assert not (tmp_path / "out").exists()
