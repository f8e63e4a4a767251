"""A task's own files of its answers: each is below the folder, whatever its id.

Parts end before they fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvflow.answers.base import BaseAnswer
from cvflow.answers.classes import ClassAnswer
from cvflow.errors import CvflowError
from cvflow.stages.predict import parts
from cvflow.stages.predict.answer_files import FOLDER, filed, naming, safe
from cvflow.types import Prediction

SCHEMA = pa.schema({"row": pa.int64(), "id": pa.string(), "error": pa.string(), "mask": pa.binary()})


class Masks(BaseAnswer):
    """Its files are the bytes of an answer, and their length in words."""

    columns: Mapping[str, str] = {"mask": "binary"}

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        return {".png": prediction.values["mask"], ".txt": str(len(prediction.values["mask"])).encode()}


def tables(*ids: str, size: int = 3) -> Iterator[pa.Table]:
    for number, id in enumerate(ids):
        row = {"row": number, "id": id, "error": None, "mask": bytes([number]) * size}
        yield pa.Table.from_pylist(
            [row if id != "bad" else {**row, "error": "unreadable", "mask": None}], schema=SCHEMA
        )


def test_each_answer_has_its_files_and_faults_have_none(tmp_path: Path) -> None:
    ids = ("a.png", "bad", "night/b 1")
    given = list(tables(*ids))
    assert list(filed(given, Masks(), lambda: ids, tmp_path)) == given  # type: ignore[arg-type]
    found = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == {"a.png": b"\0\0\0", "a.txt": b"3", "night/b 1.png": b"\2\2\2", "night/b 1.txt": b"3"}


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["0001.jpg", "s/2.PNG", "c.npz", "d.e", "plain"], ["0001", "s/2", "c.npz", "d.e", "plain"]),
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "a"], ["a.jpg", "a"]),
        (["a.jpg.png", "a.jpg", "a.png"], ["a.jpg.png", "a.jpg", "a.png"]),
        ([".jpg", "s/.png"], [".jpg", "s/.png"]),
    ],
)
def test_names_lose_the_images_suffix_where_they_stay_apart(ids: list[str], names: list[str]) -> None:
    name = naming(ids)
    assert [name(id).as_posix() for id in ids] == names


@settings(deadline=None)
@given(
    st.lists(
        st.text(alphabet="ab", min_size=1, max_size=2).map(lambda t: ".jpg".join(t) + ".png" * (len(t) % 2)),
        unique=True,
    )
)
def test_no_two_answers_have_one_file(ids: list[str]) -> None:
    assert len(set(map(naming(ids), ids))) == len(ids)


def test_a_task_without_files_writes_none(tmp_path: Path) -> None:
    assert len(list(filed(tables("a", "b"), ClassAnswer(), lambda: "ab", tmp_path / "none"))) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("id", "path"),
    [
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("/root/x", "_/root/x"),
        ("a/./b//c/..", "a/_/b/_/c/_"),
        ("https://host/x.jpg", "https:/_/host/x.jpg"),
        ("a\0b", "a_b"),
        ("", "_"),
    ],
)
def test_an_id_leads_nowhere_else(id: str, path: str) -> None:
    assert safe(id).as_posix() == path


@settings(deadline=None)
@given(st.text(alphabet="./a\\\0 ", max_size=12))
def test_no_id_leaves_the_folder(id: str) -> None:
    root = Path("/somewhere/below")
    assert (root / f"{safe(id)}.png").resolve().is_relative_to(root)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(CvflowError, match=r"a/b\.png: (Not a directory|File exists)"):
        list(filed(tables("a/b"), Masks(), lambda: ["a/b"], tmp_path))  # type: ignore[arg-type]


def test_a_part_ends_before_its_answers_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 5000)
    written = parts.Parts(tmp_path, SCHEMA, 12, {"model": "m"})
    written.write(
        filed(
            tables(*(f"{i}" for i in range(12)), size=1000),
            Masks(),
            lambda: map(str, range(12)),
            tmp_path / FOLDER,
        )
    )  # type: ignore[arg-type]
    rows = [pq.read_table(path).num_rows for path in parts.part_files(tmp_path)]
    assert sum(rows) == 12
    assert max(rows) <= 6
    assert len(list((tmp_path / FOLDER).iterdir())) == 24
    assert pq.read_table(tmp_path)["id"].to_pylist() == [f"{i}" for i in range(12)], (
        "files beside Parquet hinder no reader"
    )
