"""Batch inference from folders of several images a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvflow.annotations.image import encode_png
from cvflow.config import SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.row_sources import open_source
from cvflow.errors import RequestError
from cvflow.registry import Component, build
from cvflow.tasks.classification import Classification


def image(value: int) -> bytes:
    return encode_png(np.full((4, 6, 3), value, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for side, start in (("left", 0), ("right", 100)):
        for number, name in enumerate(("a.png", "deep/b.png", "c.png")):
            path = tmp_path / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image(start + number))
    return tmp_path


def test_files_of_one_name_make_a_row(folder: Path) -> None:
    source = open_source(folder, ("left", "right"))
    rows = list(source.rows(0, 3))
    assert [row["id"] for row in rows] == ["a.png", "c.png", "deep/b.png"]
    assert rows[2] == {"id": "deep/b.png", "left": image(1), "right": image(101)}
    assert list(source.rows(1, 2)) == rows[1:2]
    assert source.ranges(2) == [(0, 2), (2, 3)]
    assert len(source) == 3


def test_every_source_tells_its_ids_without_the_images(folder: Path) -> None:
    table = pa.table({"image": [image(0), image(1)], "id": ["x.jpg", "y.png"]})
    pq.write_table(table, folder / "named.parquet")
    pq.write_table(table.drop_columns("id"), folder / "numbered.parquet")
    shown = [
        (folder, ("left", "right")),
        (folder / "left", ("image",)),
        (folder / "left" / "a.png", ("image",)),
    ]
    shown += [(folder / "named.parquet", ("image",)), (folder / "numbered.parquet", ("image",))]
    for path, images in shown:
        source = open_source(path, images)
        assert list(source.ids()) == [row["id"] for row in source.rows(0, len(source))]


def test_a_prepared_split_tells_its_ids(tmp_path: Path) -> None:
    prepare(
        build("format", Component(name="digits"), None),
        Classification.schema,
        "classification",
        SplitRule(test=0.8),
        tmp_path / "d",
        64,
    )
    source = open_source(tmp_path / "d", ("image",), "val")
    assert list(source.ids()) == [row["id"] for row in source.rows(0, len(source))]


def test_the_digest_tells_the_sides_apart(folder: Path) -> None:
    assert open_source(folder, ("left", "right")).digest == open_source(folder, ("left", "right")).digest
    assert open_source(folder, ("left", "right")).digest != open_source(folder, ("right", "left")).digest


def test_an_image_alone_is_named(folder: Path) -> None:
    (folder / "right" / "a.png").unlink()
    (folder / "left" / "c.png").unlink()
    with pytest.raises(RequestError) as caught:
        open_source(folder, ("left", "right"))
    assert [(Path(f.where).name, f.got) for f in caught.value.faults] == [
        ("right", "no 'a.png'"),
        ("left", "no 'c.png'"),
    ]


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(
        RequestError,
        match=r"no folder 'first' \(\['left', 'right'\]\).*Put the images into first/ and second/",
    ):
        open_source(folder, ("first", "second"))
    with pytest.raises(RequestError, match="no folder 'left'"):
        open_source(folder / "left" / "a.png", ("left", "right"))
