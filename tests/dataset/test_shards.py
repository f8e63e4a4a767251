"""Rows written are the rows read, at random, in other processes, and cheaply."""

import pickle
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pyarrow as pa
import pytest

from cvflow.dataset import shards as module
from cvflow.dataset.shards import ShardReader, ShardWriter, arrow_schema
from cvflow.errors import RequestError
from cvflow.types import Schema

SCHEMA = Schema(
    images=("left", "right"), annotations={"label": "int32", "boxes": "list<list<float>>", "name": "string"}
)


def rows(count: int, size: int = 300) -> list[dict[str, object]]:
    draw = random.Random(0)
    return [
        {
            "id": f"r{i}",
            "path": f"a/r{i}.png",
            "left": draw.randbytes(draw.randrange(size)),
            "right": draw.randbytes(size),
            "label": i % 7,
            "boxes": [[1.0, 2.0]] * (i % 3),
            "name": "ü",
        }
        for i in range(count)
    ]


def write(directory, given, shard_bytes=20_000):
    directory.mkdir(exist_ok=True)
    writer = ShardWriter(directory, "train", SCHEMA, shard_bytes)
    for row in given:
        writer.add(row)
    return writer.close()


def test_rows_come_back_in_any_order(tmp_path):
    given = rows(203)
    shards = write(tmp_path, given)
    assert len(shards) > 2
    assert sum(s.rows for s in shards) == 203
    reader = ShardReader(tmp_path, shards)
    assert len(reader) == 203
    order = random.Random(1).sample(range(203), 203)
    assert [reader[i] for i in order] == [given[i] for i in order]
    for outside in (-1, 203):
        with pytest.raises(IndexError):
            reader[outside]


def test_a_whole_column(tmp_path):
    given = rows(203)
    reader = ShardReader(tmp_path, write(tmp_path, given))
    before = pa.total_allocated_bytes()
    assert reader.column("label") == [row["label"] for row in given]
    assert reader.column("boxes") == [row["boxes"] for row in given]
    assert pa.total_allocated_bytes() == before  # the images stay where they are
    with pytest.raises(RequestError, match="no column 'weight', expected one of boxes, id, label"):
        reader.column("weight")


def test_files_are_named_by_content_and_nothing_else_lies_there(tmp_path):
    shards = write(tmp_path, rows(100))
    assert {p.name for p in tmp_path.iterdir()} == {s.file for s in shards}
    for i, shard in enumerate(shards):
        assert shard.file == f"train-{i:05d}-{shard.sha256[:16]}.arrow"
        assert (tmp_path / shard.file).stat().st_size == shard.bytes


def test_same_rows_same_bytes(tmp_path):
    one, two = write(tmp_path / "one", rows(100)), write(tmp_path / "two", rows(100))
    assert one == two
    assert all(
        (tmp_path / "one" / s.file).read_bytes() == (tmp_path / "two" / s.file).read_bytes() for s in one
    )


def test_no_rows_no_shards(tmp_path):
    assert write(tmp_path, []) == []
    assert len(ShardReader(tmp_path, [])) == 0


def test_reader_crosses_to_another_process(tmp_path):
    given = rows(70)
    reader = ShardReader(tmp_path, write(tmp_path, given))
    assert reader[40] == given[40]  # now it holds open files
    assert len(pickle.dumps(reader)) < 2000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(reader.__getitem__, 69).result() == given[69]


def test_a_row_costs_its_own_bytes(tmp_path):
    given = [{**row, "right": b"x" * 1_000_000} for row in rows(32)]
    reader = ShardReader(tmp_path, write(tmp_path, given, 100_000_000))
    reader[0]
    before = pa.total_allocated_bytes()
    assert len(reader[5]["right"]) == 1_000_000
    assert pa.total_allocated_bytes() - before < 2_000_000


def test_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    given = rows(203)
    reader = ShardReader(tmp_path, write(tmp_path, given))
    assert [reader[i] for i in range(0, 203, 20)] == given[::20]
    assert len(reader._open) == 2


def test_missing_and_cut_shards_say_what_to_do(tmp_path):
    shards = write(tmp_path, rows(40))
    path = tmp_path / shards[0].file
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        RequestError,
        match=rf"got {shards[0].bytes - 10} bytes, expected {shards[0].bytes} bytes.*dvc checkout",
    ):
        ShardReader(tmp_path, shards)[0]
    path.unlink()
    with pytest.raises(RequestError, match="no file"):
        ShardReader(tmp_path, shards)[0]


def test_column_types():
    assert arrow_schema(SCHEMA).field("boxes").type == pa.list_(pa.list_(pa.float32()))
    with pytest.raises(ValueError, match="No type alias"):
        arrow_schema(Schema(images=(), annotations={"x": "nonsense"}))
