"""Pascal VOC's XML with one object an image; what is faulty is passed over and named."""

import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvflow.annotations import box
from cvflow.annotations.image import ImageFault, encode_png, size_of
from cvflow.errors import RequestError
from cvflow.formats.reading.voc_xml import read
from cvflow.formats.record import Confidence
from cvflow.formats.voc import Voc

PHOTO = encode_png(np.zeros((20, 30, 3), dtype=np.uint8))


def thing(name: str = "cat", edges: tuple[object, ...] = (3, 4, 10, 12)) -> str:
    values = "".join(
        f"<{edge}>{value}</{edge}>"
        for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{values}</bndbox></object>"


def xml(*objects: str, size: tuple[int, int] = (30, 20), filename: str = "") -> str:
    head = f"<filename>{filename}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
    head += "<depth>3</depth></size>"
    return f'<?xml version="1.0"?>\n<annotation>{head}{"".join(objects)}</annotation>'


def tree(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.mark.parametrize(
    ("images", "annotations"),
    [("JPEGImages/", "Annotations/"), ("images/", "annots/"), ("", "")],
    ids=["VOC", "images", "side by side"],
)
def test_one_object_an_image(tmp_path, images, annotations):
    files = {f"{images}{i}.png": PHOTO for i in range(5)}
    files |= {
        f"{annotations}0.xml": xml(thing("dog")),
        f"{annotations}1.xml": xml(thing(), thing()),
        f"{annotations}2.xml": xml(),
    }
    files |= {f"{annotations}3.xml": xml(thing("cat", (1, 1, 30, 20.5)))}
    reader = Voc(tree(tmp_path, files))
    assert Voc.guess(tmp_path).confidence == Confidence.LIKELY
    assert reader.classes == ("cat", "dog")
    assert [(r.id, r.line, r.annotation) for r in reader] == [
        (f"{images}0.png", f"{annotations}0.xml object 1", {"label": 1, "box": [2, 3, 10, 12]}),
        (f"{images}3.png", f"{annotations}3.xml object 1", {"label": 0, "box": [0, 0, 30, 20.5]}),
    ]
    assert [r.images["image"]() for r in reader] == [PHOTO] * 2
    assert sorted(reader.skipped()) == sorted(
        [
            (f"{annotations}1.xml", "2 objects"),
            (f"{annotations}2.xml", "no object"),
            (f"{images}4.png", "an image without XML"),
        ]
    )


def test_classes_that_count(tmp_path):
    files = {"images/a.png": PHOTO, "annots/a.xml": xml(thing("cat"), thing("dog"), thing("dog"))}
    (record,) = Voc(tree(tmp_path, files), classes=("cat",))
    assert (record.annotation["label"], record.line) == (0, "annots/a.xml object 1")
    with pytest.raises(
        RequestError,
        match=r"no image with one object: 1 with 3 objects.*data.format.classes=\[<one of cat, dog>\]",
    ):
        Voc(tmp_path)


def test_splits_by_list_by_folder_and_in_a_zip(tmp_path):
    files = {f"JPEGImages/{name}.png": PHOTO for name in "abcd"} | {
        f"Annotations/{name}.xml": xml(thing()) for name in "abcd"
    }
    lists = {"train": "a\n", "val": "b  1\n", "trainval": "a\nb\n", "test": "\nc\n"}
    files |= {f"ImageSets/Main/{name}.txt": text for name, text in lists.items()}
    reader = Voc(tree(tmp_path / "voc", files))
    assert [(r.id[-5], r.split) for r in reader] == [("a", "train"), ("b", "val"), ("c", "test")]
    assert list(reader.skipped()) == [("Annotations/d.xml", "in no list of ImageSets/Main")]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for path in sorted((tmp_path / "voc").rglob("*.*")):
            file.write(path, path.relative_to(tmp_path))
    assert [(r.id, r.split) for r in Voc(tmp_path / "x.zip")] == [(r.id, r.split) for r in reader]
    (tmp_path / "voc/ImageSets/Main/train.txt").unlink()
    assert [r.split for r in Voc(tmp_path / "voc")] == ["train", "val", "test"], (
        "of trainval what is not in val"
    )
    folders = {
        f"{split}/{name}": content
        for split in ("train", "valid")
        for name, content in {"a.png": PHOTO, "a.xml": xml(thing())}.items()
    }
    assert [(r.id, r.split) for r in Voc(tree(tmp_path / "two", folders))] == [
        ("train/a.png", "train"),
        ("valid/a.png", "val"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation><object>", "no readable XML: no element found: line 1, column 20"),
        ("", "no readable XML: no element found"),
        (xml(thing("")), "object 1 without a name"),
        (xml("<object><name>cat</name></object>"), "object 1 'cat' without a bndbox"),
        (xml(thing("cat", (1, "x", 5, "nan"))), "object 1 'cat': ymin 'x', ymax 'nan', not a number"),
        (
            '<!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>',
            "no readable XML: it has a document type",
        ),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "no readable XML: it has a document type"),
    ],
)
def test_faulty_files_are_named(tmp_path, text, reason):
    files = {"images/a.png": PHOTO, "annots/a.xml": xml(thing()), "images/b.png": PHOTO, "annots/b.xml": text}
    reader = Voc(tree(tmp_path, files))
    assert [r.id for r in reader] == ["images/a.png"]
    ((path, why),) = reader.skipped()
    assert path == "annots/b.xml"
    assert why.startswith(reason)
    assert why.endswith(" (id images/b.png)")


@pytest.mark.parametrize(
    ("edges", "outside"),
    [
        ((1, 0, 5, 5), None),
        ((-3, 1, 5, 5), "[-3, 0, 5, 5]"),
        ((1, -3, 5, 5), "[0, -3, 5, 5]"),
        ((1, 1, 31, 21), "[0, 0, 31, 21]"),
    ],
)
def test_boxes_outside_on_any_side_are_faults(tmp_path, edges, outside):
    (record,) = Voc(tree(tmp_path, {"images/a.png": PHOTO, "annots/a.xml": xml(thing("cat", edges))}))
    said = box.fault(np.array(record.annotation["box"]), (20, 30), ("cat",))
    assert said == (
        outside and f"a box outside the image: {outside} (left, top, right, bottom) in 30x20 pixels"
    )


def test_a_document_type_in_another_encoding_is_refused_as_well():
    text = (
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>'
    )
    assert read(text.encode("utf-16")) == "no readable XML: it has a document type"
    assert "MB" in str(read(b" " * (17 * 2**20)))


def test_another_size_than_annotated_and_a_missing_image(tmp_path):
    files = {
        "images/a.png": PHOTO,
        "annots/a.xml": xml(thing(), size=(60, 40)),
        "annots/b.xml": xml(thing(), filename="C:\\x\\b.jpg"),
    }
    first, second = Voc(tree(tmp_path, files))
    with pytest.raises(ImageFault, match="an image of 30x20 pixels, annotated as 60x40"):
        first.images["image"]()
    assert second.id == "images/b.jpg"
    with pytest.raises(FileNotFoundError):
        second.images["image"]()
    tree(tmp_path, {"annots/a.xml": xml(thing(), size=(0, 0))})
    assert next(iter(Voc(tmp_path))).images["image"]() == PHOTO


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (30, 20)), (3, (30, 20)), (6, (20, 30)), (8, (20, 30))]
)
def test_sizes_are_upright(orientation, size):
    exif, out = Image.Exif(), BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(out, "JPEG", exif=exif)
    assert size_of(out.getvalue()) == size


def test_nothing_to_read(tmp_path, make_folder):
    with pytest.raises(RequestError, match="no images with XML, expected JPEGImages/ and Annotations/"):
        Voc(make_folder({"cat": 1, "dog": 1}))
    assert Voc.guess(tmp_path / "source").confidence == Confidence.NONE
    assert Voc.guess(tmp_path / "nowhere").confidence == Confidence.NONE


def test_kangaroo_and_blood_cells(shared_data):
    reader = Voc(shared_data / "kangaroo")
    records = list(reader)
    assert (reader.classes, len(records), len(list(reader.skipped()))) == (("kangaroo",), 107, 57)
    for record in records:
        width, height = size_of(record.images["image"]())
        assert box.fault(box.decode(record.annotation["box"]), (height, width), reader.classes) is None
    cells = Voc(shared_data / "bccd", classes=("WBC",))
    assert Counter(r.split for r in cells) == {"train": 194, "val": 85, "test": 65}
    assert Counter(why for _, why in cells.skipped()) == {"2 objects": 14, "no object": 6}
