"""Tables of boxes: columns by their usual names, several objects an image, fractions, faults by line."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvflow.annotations.image import encode_png
from cvflow.dataset.prepare import inspect
from cvflow.errors import RequestError
from cvflow.formats.boxes_csv import BoxesCsv
from cvflow.formats.manifest import Manifest
from cvflow.formats.recognise import recognise
from cvflow.formats.record import Confidence
from cvflow.tasks.localization import Localization

HEAD = "path,label,xmin,ymin,xmax,ymax"


@pytest.fixture
def table(tmp_path):
    """Writes a table beside three images of 30x20 pixels: ``table("a.png,cat,1,2,3,4", ...)``."""

    def write(*lines: str, head: str = HEAD, name: str = "boxes.csv"):
        for image in ("a.png", "b.png", "c.png"):
            (tmp_path / image).write_bytes(encode_png(np.full((20, 30), ord(image[0]), dtype=np.uint8)))
        (tmp_path / name).write_text("\n".join([head, *lines]) + "\n")
        return tmp_path

    return write


def test_rows_with_boxes(table):
    source = table("a.png,cat,1,2,3.5,4,train", "b.png,dog,0,0,30,20,test", head=f"{HEAD},split")
    component, reader = recognise(source)
    assert (component.name, component.options, reader.classes) == ("boxes_csv", {}, ("cat", "dog"))
    assert [(r.id, r.annotation, r.split, r.line) for r in reader] == [
        ("a.png", {"label": 0, "box": [1, 2, 3.5, 4]}, "train", "boxes.csv:2"),
        ("b.png", {"label": 1, "box": [0, 0, 30, 20]}, "test", "boxes.csv:3"),
    ]
    assert next(iter(reader)).images["image"]() == (source / "a.png").read_bytes()


def test_one_class_parquet_and_weights(table):
    source = table("a.png,x,1,2,3,4")
    columns = {"path": ["a.png", "c.png"], "label": ["cat", "cat"], "weight": [0.5, 2.0], "group": ["p", "q"]}
    (source / "boxes.csv").unlink()
    pq.write_table(
        pa.table({**columns, "xmin": [0, 1], "ymin": [0, 1], "xmax": [5, 6.5], "ymax": [5, 6]}),
        source / "boxes.parquet",
    )
    records = list(BoxesCsv(source / "boxes.parquet"))
    assert [r.annotation for r in records] == [
        {"label": 0, "weight": 0.5, "box": [0, 0, 5, 5]},
        {"label": 0, "weight": 2.0, "box": [1, 1, 6.5, 6]},
    ]
    assert [(r.group, r.line) for r in records] == [
        ("p", "boxes.parquet row 1"),
        ("q", "boxes.parquet row 2"),
    ]


def test_columns_by_their_usual_names(table):
    """As TensorFlow's and Roboflow's tables have them."""
    source = table("a.png,30,20,cat,1,2,3,4", head="filename,width,height,class,XMin,YMin,XMax,YMax")
    component, (record,) = recognise(source)
    assert component.options == {
        "path": "filename",
        "label": "class",
        "xmin": "XMin",
        "ymin": "YMin",
        "xmax": "XMax",
        "ymax": "YMax",
    }
    assert record.annotation["box"] == [1, 2, 3, 4]


def test_tables_without_boxes_are_left_to_the_manifest(table):
    assert BoxesCsv.guess(table("a.png,cat", "b.png,dog", head="path,label")).confidence == Confidence.NONE
    table("a.png,cat,1,2,3,4", name="other.csv")
    assert BoxesCsv.guess(table("a.png,cat,1,2,3,4")).confidence == Confidence.NONE, "two tables"


def test_images_with_several_objects_are_passed_over(table):
    source = table("a.png,cat,1,2,3,4", "b.png,dog,1,2,3,4", "a.png,eel,5,6,7,8", "c.png,fox,1,2,3,4")
    reader = BoxesCsv(source)
    assert [(r.id, reader.classes[r.annotation["label"]]) for r in reader] == [
        ("b.png", "dog"),
        ("c.png", "fox"),
    ]
    assert reader.classes == ("dog", "fox"), "of what is left"
    assert list(reader.skipped()) == [
        ("boxes.csv:2", "one of 2 objects in a.png"),
        ("boxes.csv:4", "one of 2 objects in a.png"),
    ]
    with pytest.raises(
        RequestError, match="no image in one row alone, expected images with exactly one object"
    ):
        BoxesCsv(table("a.png,cat,1,2,3,4", "a.png,cat,1,2,3,5"))


def test_fractions_of_the_image(table):
    source = table("a.png,cat,0.1,0.2,0.5,1")
    (record,) = BoxesCsv(source, normalised=True)
    assert record.annotation["box"] == pytest.approx([3, 4, 15, 20])
    with pytest.raises(
        RequestError, match=r"boxes of at most 1, expected pixels. Type data.format.normalised=true"
    ):
        BoxesCsv(source)


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        (
            "a.png,cat,1,two,3,",
            {},
            "boxes.csv:2: got ymin 'two', ymax '', not a number \\(id a.png\\), expected a sound row",
        ),
        ("a.png,cat,1,2,inf,4", {}, "xmax 'inf', not a number"),
        ("a.png,cat,1,2,3", {}, "5 cells where the header has 6"),
        ("a.png,,1,2,3,4", {}, "boxes.csv:2: got an empty label"),
        ("a.png,cat,0,0,1,2", {"normalised": True}, r"a box \[0.0, 0.0, 1.0, 2.0\], outside 0 to 1"),
        ("d.png,cat,0,0,1,1", {"normalised": True}, "an image without a size: No such file"),
        (
            "a.png,cat,1,2,3,4",
            {"xmin": "left"},
            "no column 'left', expected one of label, path.*Type data.format.xmin=<column>",
        ),
    ],
)
def test_faulty_rows_are_named(table, line, options, message):
    with pytest.raises(RequestError, match=message):
        BoxesCsv(table(line), **options)


def test_faulty_rows_left_out(table):
    reader = BoxesCsv(table("a.png,cat,x,2,3,4", "b.png,cat,1,2,3,4"), faulty_rows="leave_out")
    assert [r.id for r in reader] == ["b.png"]
    assert list(reader.skipped()) == [("boxes.csv:2", "xmin 'x', not a number (id a.png)")]
    with_ids = BoxesCsv(
        table("a.png,cat,nan,2,3,4,one", "b.png,cat,1,2,3,4,two", head=f"{HEAD},id"), faulty_rows="leave_out"
    )
    assert list(with_ids.skipped()) == [("boxes.csv:2", "xmin 'nan', not a number (id one)")]


def test_a_wrong_box_is_named_by_image_line_and_id(table):
    source = table(
        "a.png,cat,1,2,3,4,one", "b.png,cat,1,2,31,4,two", "c.png,cat,1,2,3,40,c.png", head=f"{HEAD},id"
    )
    found = inspect(BoxesCsv(source), Localization.schema)
    wrong = [f for f in found.findings if f.action == "left out"]
    assert [(f.file, f.id) for f in wrong] == [
        ("b.png (boxes.csv:3)", "two"),
        ("c.png (boxes.csv:4)", "c.png"),
    ]
    assert [str(f).partition(": ")[0] for f in wrong] == [
        "b.png (boxes.csv:3), id two",
        "c.png (boxes.csv:4)",
    ]
    assert [(f["file"], f["id"]) for f in found.plain()["findings"][:2]] == [(f.file, f.id) for f in wrong]


def test_a_manifest_passes_over_no_image(table):
    """What several rows of one image mean differs: to classify, it is a fault."""
    with pytest.raises(RequestError, match="the path 'a.png' again"):
        Manifest(table("a.png,cat,1,2,3,4", "a.png,dog,1,2,3,4"))
