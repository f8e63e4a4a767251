"""Batch inference killed with -9 and begun again: no id twice, none missing, the answers of an
unbroken one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cvflow.config import Compute
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import CvflowError
from cvflow.stages.predict import parts, predict_path
from cvflow.stages.predict.overlays import FOLDER

HERE = Compute(threads=1, device="cpu")
ROWS = 20
CHILD = """
import os, signal, sys
from pathlib import Path
from cvflow.config import Compute
from cvflow.stages.predict import parts
from cvflow.stages import predict
parts.PART_ROWS, parts.PART_SECONDS = int(sys.argv[5]), float(sys.argv[7])
compute = Compute(workers=int(sys.argv[4]), threads=1, device="cpu")
rename, last = Path.rename, f"part-{int(sys.argv[8]) - 1:05d}.parquet"

def renamed(self, target):
    done = rename(self, target)
    if Path(target).name == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Path.rename = renamed
model, source, out = map(Path, sys.argv[1:4])
predict.predict_path(model, "m/3", source, out, compute, batch_size=int(sys.argv[6]))
"""
Source = Callable[[str], tuple[Path, list[str]]]


def killed(
    model: Path,
    source: Path,
    out: Path,
    after: int,
    workers: int = 0,
    rows: int = ROWS,
    batch: int = 1,
    seconds: float = 60,
) -> int:
    """Predict in another process, which is killed once it has written so many parts; how many it left."""
    arguments = [
        str(model),
        str(source),
        str(out),
        str(workers),
        str(rows),
        str(batch),
        str(seconds),
        str(after),
    ]
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], stderr=subprocess.PIPE, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert not out.exists()
    return len(parts.part_files(out.with_name(f".{out.name}.partial")))


def many(source: Source, kind: str, tmp_path: Path) -> tuple[Path, list[str]]:
    """A source of a kind that takes long enough to be killed in the middle."""
    path, ids = source("bytes" if kind == "parquet" else kind)
    if kind == "parquet":
        table = pq.read_table(path).drop_columns("id")
        with pq.ParquetWriter(tmp_path / "many.parquet", table.schema) as writer:
            for _ in range(20):
                writer.write_table(table)
        return tmp_path / "many.parquet", [str(i) for i in range(1800)]
    if kind == "folder":
        for copy in range(1, 20):
            for name in ids:
                target = path / str(copy) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path / name)
        return path, sorted([*ids, *(f"{copy}/{name}" for copy in range(1, 20) for name in ids)])
    return path, ids


@pytest.mark.parametrize(
    "kind", ["prepared", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("folder", "parquet"))]
)
def test_killed_and_begun_again(
    kind: str,
    source: Source,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", ROWS)
    path, ids = many(source, kind, tmp_path)
    whole = pq.read_table(predict_path(model, "m/3", path, tmp_path / "whole", HERE, 1).path)
    left = killed(model, path, tmp_path / "out", after=4)
    written = predict_path(model, "m/3", path, tmp_path / "out", HERE, 1)
    assert f"{left * ROWS:,} of {len(ids):,} rows were answered before; going on" in capsys.readouterr().err
    assert pq.read_table(written.path)["id"].to_pylist() == ids
    assert pq.read_table(written.path).equals(whole)
    assert written.rows == len(ids)
    assert written.faults == sum(error is not None for error in whole["error"].to_pylist())
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_killed_after_parts_that_their_time_ended(
    source: Source, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ids = source("prepared")
    whole = pq.read_table(predict_path(model, "m/3", path, tmp_path / "whole", HERE, 3).path)
    left = killed(model, path, tmp_path / "out", after=4, rows=10_000, batch=3, seconds=0)
    table = pq.read_table(predict_path(model, "m/3", path, tmp_path / "out", HERE, 3).path)
    assert f"{left * 3:,} of {len(ids):,} rows were answered before; going on" in capsys.readouterr().err
    assert table["id"].to_pylist() == ids
    assert table.equals(whole)


def test_a_part_ends_between_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with several answers or none, in tables that divide them; ended by time wherever that
    can be, or by their number.
    """
    monkeypatch.setattr(parts, "PART_ROWS", 4)
    monkeypatch.setattr(parts, "PART_SECONDS", 0.0)
    schema = pa.schema({"row": pa.int64(), "id": pa.string(), "error": pa.string()})
    tables = [
        pa.table({"row": rows, "id": [f"{row}" for row in rows], "error": [None] * len(rows)}, schema=schema)
        for rows in ([0, 0], [0, 1], [], [3], [3, 3, 4, 5, 8, 9], [9, 11])
    ]
    parts.Parts(tmp_path, schema, 12, {}).write(tables)
    kept = [
        (pq.read_table(part)["id"].to_pylist(), int(pq.read_metadata(part).metadata[parts.STOP]))
        for part in parts.part_files(tmp_path)
    ]
    assert kept == [
        (["0", "0", "0", "1"], 3),
        (["3", "3", "3", "4", "5"], 7),
        (["8", "9", "9"], 11),
        (["11"], 12),
    ]
    parts.part_files(tmp_path)[-1].unlink()
    assert parts.Parts(tmp_path, schema, 12, {}).done == 11


@pytest.mark.parametrize("changed", ["data", pytest.param("model version", marks=pytest.mark.slow)])
def test_other_data_or_another_model_start_anew(
    changed: str,
    source: Source,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", ROWS)
    path, ids = many(source, "folder", tmp_path)
    killed(model, path, tmp_path / "out", after=2)
    spoilt = ids.index("1/a/010.png")
    if changed == "data":
        (path / ids[spoilt]).unlink()  # hard links: the others stay
        (path / ids[spoilt]).write_bytes(b"another")
    version = "m/3" if changed == "data" else "m/4"
    table = pq.read_table(predict_path(model, version, path, tmp_path / "out", HERE).path)
    assert f"starting anew: another {changed} than that of the" in capsys.readouterr().err
    assert table["id"].to_pylist() == ids
    assert set(table["model_version"].to_pylist()) == {version}
    assert (table["error"][spoilt].as_py() == "not an image") == (changed == "data")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_killed_and_begun_again_on_two_actors(
    source: Source, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(parts, "PART_ROWS", 500)
    path, ids = many(source, "parquet", tmp_path)
    whole = pq.read_table(predict_path(model, "m/3", path, tmp_path / "whole", HERE).path)
    left = killed(model, path, tmp_path / "out", after=1, workers=2, rows=500)
    assert 0 < left < 4
    try:
        table = pq.read_table(
            predict_path(
                model, "m/3", path, tmp_path / "out", Compute(workers=2, threads=1, device="cpu")
            ).path
        )
    finally:
        ray.shutdown()
    assert table["id"].to_pylist() == ids
    assert table.drop_columns("probabilities").equals(whole.drop_columns("probabilities"))


def test_two_at_once_do_not_write_to_one_place(source: Source, model: Path, tmp_path: Path) -> None:
    path, ids = source("bytes")
    with (
        parts.resumable(tmp_path / ".out.partial", {"model": "x"}),
        pytest.raises(CvflowError, match="another cvflow predict is writing there"),
    ):
        predict_path(model, "m/3", path, tmp_path / "out", HERE)
    assert predict_path(model, "m/3", path, tmp_path / "out", HERE).rows == len(ids)


def test_overlays(digits: PreparedDataset, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for wanted in (5, 0, 3):
        assert (
            predict_path(model, "m/3", digits.path, out, HERE, overlays=wanted).rows
            == digits.info.counts["test"]
        )
        drawn = sorted((out / FOLDER).glob("*.jpg"))
        assert len(drawn) == wanted
        assert len(pq.read_table(out)) == digits.info.counts["test"], (
            "the folder is read as Parquet, pictures or not"
        )
    size = digits.info.counts["test"]
    assert [int(path.name.partition("-")[0]) for path in drawn] == [i * size // 3 for i in range(3)]
    with Image.open(drawn[0]) as image:
        pixels = np.asarray(image)
    assert pixels.shape[1] == 192
    assert pixels.shape[0] > 192
    assert pixels[192:].max() > 200  # white letters below the picture
