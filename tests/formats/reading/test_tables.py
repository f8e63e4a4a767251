"""Manifests: what is read, and every fault by file and line."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvflow.config import SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import RequestError
from cvflow.formats.manifest import Manifest
from cvflow.formats.recognise import recognise
from cvflow.tasks.classification import Classification


@pytest.fixture
def table(make_folder, tmp_path: Path) -> Callable[..., Path]:
    """``table(text)``: a CSV beside the folder "images" of a/000.png ... a/005.png and b/..."""
    make_folder({"a": 6, "b": 6}, "data/images")

    def write(text: str | bytes, name: str = "labels.csv") -> Path:
        path = tmp_path / "data" / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


GOOD = """path,label,split,weight
images/a/000.png,cat,train,1
images/b/000.png,dog,train,0.5
images/a/001.png,cat,TEST,
images/b/001.png,dog,valid,2
"""
SEEN = [
    ("images/a/000.png", {"label": 0, "weight": 1.0}, "train", "labels.csv:2"),
    ("images/b/000.png", {"label": 1, "weight": 0.5}, "train", "labels.csv:3"),
    ("images/a/001.png", {"label": 0}, "test", "labels.csv:4"),
    ("images/b/001.png", {"label": 1, "weight": 2.0}, "val", "labels.csv:5"),
]


def seen(reader: Manifest) -> list[tuple[object, ...]]:
    return [(r.id, r.annotation, r.split, r.line) for r in reader]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.replace(",", ";").encode(),
        GOOD.replace("cat", '"cat"').encode(),
        GOOD.replace("path,", " path ,").rstrip("\n").encode() + b"\n\n,,,\n",
    ],
    ids=["plain", "windows", "bom", "utf-16", "semicolons", "quotes", "spaces and empty lines"],
)
def test_csv_as_programs_write_it(table, text):
    reader = Manifest(table(text))
    assert reader.classes == ("cat", "dog")
    assert seen(reader) == SEEN
    assert seen(reader) == seen(reader)


def test_tabs_parquet_folder_and_zip(table, tmp_path):
    table(GOOD.replace(",", "\t"), "labels.tsv")
    assert [s[:3] for s in seen(Manifest(tmp_path / "data"))] == [s[:3] for s in SEEN]
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for path in sorted((tmp_path / "data").rglob("*.*")):
            file.write(path, Path("top") / path.relative_to(tmp_path / "data"))
    records = list(Manifest(tmp_path / "data.zip"))
    assert records[0].images["image"]() == (tmp_path / "data/images/a/000.png").read_bytes()
    (tmp_path / "data/labels.tsv").unlink()
    columns = {
        "file": [s[0] for s in SEEN],
        "y": [3, 7, 3, 7],
        "weight": [1.0, 0.5, None, 2.0],
        "split": ["train", "train", "test", "val"],
    }
    pq.write_table(pa.table(columns), tmp_path / "data/all.parquet")
    reader = Manifest(tmp_path / "data", path="file", label="y")
    assert reader.classes == ("3", "7")
    assert [s[:3] for s in seen(reader)] == [s[:3] for s in SEEN]
    assert next(iter(reader)).line == "all.parquet row 1"


def test_integer_labels_are_in_numeric_order_and_may_be_named(table):
    text = "path,label\nimages/a/000.png,10\nimages/a/001.png,9\nimages/a/002.png,0\n"
    assert Manifest(table(text)).classes == ("0", "9", "10")
    named = Manifest(table(text.replace("10", "1").replace("9", "red")), classes=("green", "blue", "red"))
    assert [r.annotation["label"] for r in named] == [1, 2, 0]


def test_groups_ids_and_an_image_folder(table):
    text = "path,label,id,group\na/000.png,x,one,g\nb/000.png,y,two,\n"
    records = list(Manifest(table(text), images="images"))
    assert [(r.id, r.path, r.group) for r in records] == [
        ("one", "images/a/000.png", "g"),
        ("two", "images/b/000.png", None),
    ]
    assert records[0].images["image"]()[:4] == b"\x89PNG"


def test_images_in_a_folder_beside_the_table_s_are_read_where_the_recipe_names_it(table, tmp_path):
    table("path,label\na/000.png,x\nb/000.png,y\na/../../elsewhere.png,x\n")
    (tmp_path / "tables").mkdir()
    (tmp_path / "data/labels.csv").rename(tmp_path / "tables/labels.csv")
    reader = Manifest(tmp_path / "tables", images="../data/images", faulty_rows="leave_out")
    assert [r.images["image"]()[:4] for r in reader] == [b"\x89PNG"] * 2
    assert [line for line, _ in reader.skipped()] == ["labels.csv:4"]


HEAD = "path,label,split,weight\nimages/a/000.png,cat,train,1\nimages/b/000.png,dog,train,1\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("images/a/001.png,cat,trian,1", "labels.csv:4: got split 'trian', not train, val or test"),
        ("images/a/001.png,,train,1", "labels.csv:4: got an empty label"),
        (",cat,train,1", "labels.csv:4: got an empty path"),
        ("images/a/001.png,cat,train,-1", "labels.csv:4: got weight -1, not a finite number of 0 or more"),
        ("images/a/001.png,cat,train,nan", "weight nan, not a finite number"),
        ("images/a/001.png,cat,train,much", "weight 'much', not a number"),
        ("images/a/000.png,cat,train,1", "the path 'images/a/000.png' again: it is in labels.csv:2"),
        (
            "images/../../odd.png,cat,train,1",
            "labels.csv:4: got the path 'images/../../odd.png', which leads out of the data",
        ),
        ("/etc/passwd,cat,train,1", "labels.csv:4: got the path '/etc/passwd', which leads out of the data"),
        ("images/a/001.png,cat", "labels.csv:4: got 2 cells where the header has 4"),
        ('"images/a/001.png', "labels.csv:4: got broken quoting"),
        ('"im"ages/a/001.png,cat,train,1', "labels.csv:4: got broken quoting"),
    ],
)
def test_faults_by_line(table, row, message):
    with pytest.raises(RequestError) as caught:
        Manifest(table(f"{HEAD}{row}\n"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "labels.csv: got an empty file"),
        (b"path,label\n", "0 classes"),
        (b"path,label\na.png,x\n", "1 classes in 'label', expected at least two"),
        (b"path,labels\n", "no column 'label', expected one of labels, path. Did you mean 'labels'"),
        (b"path,path,label\n", "two columns 'path'"),
        (
            GOOD.replace("cat", "k\xe4tzchen").encode("latin-1"),
            "bytes that are not utf-8-sig here or below.*encoding=cp1252",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", "labels.csv"),
    ],
)
def test_tables_that_are_none(table, text, message):
    with pytest.raises(RequestError, match=message):
        Manifest(table(text))


def test_other_encodings_ids_twice_and_damaged_parquet(table, tmp_path):
    reader = Manifest(table(GOOD.replace("cat", "k\xe4tzchen").encode("cp1252")), encoding="cp1252")
    assert "k\xe4tzchen" in reader.classes
    with pytest.raises(RequestError, match="the id 'one' again: it is in labels.csv:2"):
        Manifest(table("path,label,id\nimages/a/000.png,x,one\nimages/b/000.png,y,one\n"))
    with pytest.raises(RequestError, match="data.format.encoding: got 'latin-77'"):
        Manifest(table(GOOD), encoding="latin-77")
    (tmp_path / "data/labels.csv").unlink()
    with pytest.raises(RequestError, match="no readable Parquet"):
        Manifest(table(b"PAR1 and nothing more", "labels.parquet"))
    table(GOOD)
    with pytest.raises(
        RequestError, match="several tables: labels.csv, labels.parquet.*format.file=labels.csv"
    ):
        Manifest(tmp_path / "data")
    assert len(list(Manifest(tmp_path / "data", file="labels.csv"))) == 4


def test_many_faults_are_cut_and_may_be_left_out(table):
    path = table(HEAD + "".join(f"images/a/{i:03d}.png,,,\n" for i in range(50)))
    with pytest.raises(RequestError, match="30 more such rows") as caught:
        Manifest(path)
    assert len(caught.value.faults) == 21
    reader = Manifest(path, faulty_rows="leave_out")
    assert len(list(reader)) == 2
    assert len(list(reader.skipped())) == 50
    assert next(iter(reader.skipped())) == ("labels.csv:4", "an empty label (id images/a/000.png)")


def test_prepared_with_weights_and_missing_files_named_by_line(table, tmp_path):
    path = table(GOOD + "images/gone.png,cat,train,1\n" + "images/no\0de.png,dog,train,1\n")
    validation = prepare(
        Manifest(path), Classification().schema, "classification", SplitRule(), tmp_path / "out", 1
    )
    lost = [str(f) for f in validation.findings if f.action == "left out"]
    assert lost[0] == "images/gone.png (labels.csv:6): unreadable file: No such file or directory"
    assert "labels.csv:7" in lost[1]
    dataset = PreparedDataset(tmp_path / "out")
    assert dataset.split("train").column("weight") == [1.0, 0.5]
    assert dataset.split("test").column("weight") == [1.0]
    assert validation.counts == {"train": 2, "val": 1, "test": 1}


def test_recognised(table, tmp_path):
    table(GOOD)
    for source in (tmp_path / "data", tmp_path / "data/labels.csv"):
        component, reader = recognise(source)
        assert (component.name, len(list(reader))) == ("manifest", 4)
