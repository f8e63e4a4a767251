"""Images with masks, in the layouts that the field has, by index and by colour."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvflow.annotations import mask
from cvflow.annotations.image import ImageFault, encode_png
from cvflow.errors import RequestError
from cvflow.formats.image_mask import ImageMask
from cvflow.formats.reading.mask_folders import find
from cvflow.formats.reading.mask_legend import parse
from cvflow.formats.reading.trees import open_tree
from cvflow.formats.recognise import recognise
from cvflow.formats.record import Confidence
from cvflow.registry import Component, check

LABELS = np.array([[0, 1, 2], [2, 2, 1]], dtype=np.uint8)
COLOURS = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [90, 90, 90]], dtype=np.uint8)


def png(pixels: np.ndarray, mode: str | None = None, **how: object) -> bytes:
    image, out = Image.fromarray(pixels), BytesIO()
    if mode == "P":
        image = Image.fromarray(pixels, "L").convert("P")
        image.putpalette(COLOURS.tobytes())
    elif mode:
        image = image.convert(mode)
    image.save(out, "PNG", **how)
    return out.getvalue()


def tree(root: Path, files: dict[str, bytes | str]) -> Path:
    """Where a file has no content, an image or a mask by its suffix."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


PHOTO, MASK = encode_png(np.full((2, 3, 3), 7, dtype=np.uint8)), png(LABELS)


def labels_of(reader: ImageMask) -> list[list[list[int]]]:
    return [mask.decode(r.maps["mask"]()).tolist() for r in reader]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ({"images/a.jpg": "masks/a.png", "images/b.jpg": "masks/b.png"}, [None, None]),
        ({"Images/x/a.jpg": "Labels/x/a.png", "Images/y/a.jpg": "Labels/y/a.png"}, [None, None]),
        (
            {"train/images/a.jpg": "train/masks/a.png", "valid/images/a.jpg": "valid/masks/a.png"},
            ["train", "val"],
        ),
        (
            {
                "images/training/a.jpg": "annotations/training/a.png",
                "images/validation/b.jpg": "annotations/validation/b.png",
            },
            ["train", "val"],
        ),
        ({"train/a.jpg": "trainannot/a.png", "test/a.jpg": "testannot/a.png"}, ["test", "train"]),
        ({"train/a.png": "train_labels/a_L.png", "val/a.png": "val_labels/a_L.png"}, ["train", "val"]),
        ({"train/1_sat.jpg": "train/1_mask.png", "train/2_sat.jpg": "train/2_mask.png"}, ["train", "train"]),
        ({"a.jpg": "a_mask.png", "b.jpg": "b_mask.png"}, [None, None]),
        (
            {"JPEGImages/a.jpg": "SegmentationClass/a.png", "JPEGImages/b.jpg": "SegmentationClass/b.png"},
            [None, None],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_layouts(tmp_path, names, splits):
    source = tree(tmp_path, dict.fromkeys(names, PHOTO) | dict.fromkeys(names.values(), MASK))
    assert ImageMask.guess(source).confidence == Confidence.LIKELY
    reader = ImageMask(source)
    records = list(reader)
    assert sorted((r.id, r.line) for r in records) == sorted(names.items())
    assert [r.split for r in records] == splits
    assert labels_of(reader) == [LABELS.tolist()] * 2
    assert (reader.classes, list(reader.skipped())) == (("0", "1", "2"), [])
    assert recognise(source)[0].name == "image_mask", "not two classes of images"


def test_a_zip_is_read_as_its_folder(tmp_path):
    source = tree(
        tmp_path / "x",
        {"images/a.jpg": PHOTO, "masks/a.png": MASK, "images/s/b.jpg": PHOTO, "masks/s/b.png": MASK},
    )
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for path in sorted(source.rglob("*.*")):
            file.write(path, path.relative_to(tmp_path))
    there, packed = ImageMask(source), ImageMask(tmp_path / "x.zip")
    assert [(r.id, r.line, r.maps["mask"]()) for r in there] == [
        (r.id, r.line, r.maps["mask"]()) for r in packed
    ]
    assert ImageMask.guess(tmp_path / "x.zip").confidence == Confidence.LIKELY


def test_folders_and_ends_that_the_user_names(tmp_path):
    """As Cityscapes has them, with other masks beside."""
    files: dict[str, bytes | str] = {}
    for split in ("train", "val"):
        files[f"leftImg8bit/{split}/ulm/u1_leftImg8bit.png"] = PHOTO
        files[f"gtFine/{split}/ulm/u1_gtFine_labelIds.png"] = MASK
        files[f"gtFine/{split}/ulm/u1_gtFine_color.png"] = PHOTO
    options = {
        "images": "leftImg8bit/{split}",
        "masks": "gtFine/{split}",
        "mask_end": "_gtFine_labelIds",
        "image_end": "_leftImg8bit",
    }
    reader = ImageMask(tree(tmp_path, files), **options, classes=("a", "b", "c"))
    assert [(r.id, r.split) for r in reader] == [
        (f"leftImg8bit/{s}/ulm/u1_leftImg8bit.png", s) for s in ("train", "val")
    ]
    assert [path for path, _ in reader.skipped()] == [
        f"gtFine/{s}/ulm/u1_gtFine_color.png" for s in ("train", "val")
    ]
    with pytest.raises(RequestError, match="no two folders 'photos' and 'gtFine'"):
        ImageMask(tmp_path, images="photos", masks="gtFine")
    with pytest.raises(RequestError, match="images alone, expected both"):
        ImageMask(tmp_path, images="photos")


def test_lists_of_pascal_voc(tmp_path):
    files = {
        f"{folder}/{name}": content
        for name, folder, content in [
            ("a.jpg", "JPEGImages", PHOTO),
            ("b.jpg", "JPEGImages", PHOTO),
            ("c.jpg", "JPEGImages", PHOTO),
            ("a.png", "SegmentationClass", MASK),
            ("b.png", "SegmentationClass", MASK),
            ("a.xml", "Annotations", b"<annotation/>"),
            ("train.txt", "ImageSets/Segmentation", b"a\n"),
            ("trainval.txt", "ImageSets/Segmentation", b"a\nb\n"),
            ("val.txt", "ImageSets/Segmentation", b"b\n"),
        ]
    }
    reader = ImageMask(tree(tmp_path, files))
    assert [(r.id, r.split) for r in reader] == [("JPEGImages/a.jpg", "train"), ("JPEGImages/b.jpg", "val")]
    assert list(reader.skipped()) == [("JPEGImages/c.jpg", "in no list of ImageSets/Segmentation")]
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("b\na\n")
    with pytest.raises(
        RequestError, match=r"ImageSets/Segmentation/val.txt: got 'a', which is in train.txt too"
    ):
        ImageMask(tmp_path)


def one(root: Path, data: bytes, **options: object) -> ImageMask:
    return ImageMask(tree(root, {"images/a.jpg": PHOTO, "masks/a.png": data}), **options)


@pytest.mark.parametrize(
    "data",
    [
        MASK,
        png(LABELS, "P"),
        png(np.stack([LABELS] * 3, -1)),
        png(LABELS.astype(np.uint16)),
        png(np.stack([LABELS, LABELS * 0 + 255], -1)),
    ],
    ids=["grey", "palette", "grey as RGB", "16 bits", "grey and alpha"],
)
def test_indices_however_they_are_stored(tmp_path, data):
    assert labels_of(one(tmp_path, data)) == [LABELS.tolist()]


def test_one_bit(tmp_path):
    reader = one(tmp_path, png((LABELS == 2).astype(np.uint8) * 255, "1"), classes=("ground", "thing"))
    assert labels_of(reader) == [(LABELS == 2).astype(int).tolist()]


def test_void_by_index_and_name_closes_the_gap(tmp_path):
    data = png(np.array([[0, 1, 2], [3, 3, 255]], dtype=np.uint8))
    reader = one(tmp_path, data, classes=("other", "wall", "sky"), void=(0, 3))
    assert (reader.classes, labels_of(reader)) == (("wall", "sky"), [[[255, 0, 1], [255, 255, 255]]])
    assert labels_of(one(tmp_path, data, classes=("other", "wall", "sky", "x"), void="other")) == [
        [[255, 0, 1], [2, 2, 255]]
    ]
    found = one(tmp_path, data, void=1)
    assert (found.classes, labels_of(found)) == (("0", "2", "3"), [[[0, 255, 1], [2, 2, 255]]])


def test_class_names_in_a_file(tmp_path):
    tree(tmp_path, {"classes.txt": "\ufeffsky\n\nroad\ncar\n", "names.lst": "a\nb\nvoid\n"})
    assert one(tmp_path, MASK).classes == ("sky", "road", "car")
    reader = one(tmp_path, MASK, classes="names.lst")
    assert (reader.classes, labels_of(reader)) == (("a", "b"), [[[0, 1, 255], [255, 255, 1]]])
    with pytest.raises(RequestError, match=r"data.format.classes: got 'gone', which cannot be read"):
        one(tmp_path, MASK, classes="gone")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\nroad,200,0,0\ntree,0,200,0\n"),
        ("label_colors.txt", "0 0 0\t\tground\n200 0 0\troad\n0 200 0 tree"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\nroad:200,0,0::\ntree:0,200,0::\n"),
    ],
)
@pytest.mark.parametrize(
    "data", [png(COLOURS[LABELS]), png(LABELS, "P"), MASK], ids=["colour", "palette", "index"]
)
def test_legends(tmp_path, name, text, data):
    reader = one(tree(tmp_path, {name: text}), data)
    assert (reader.classes, labels_of(reader)) == (("ground", "road", "tree"), [LABELS.tolist()])


def test_a_legend_in_the_recipe_with_void(tmp_path):
    legend = {"ground": (0, 0, 0), "Void": (200, 0, 0), "tree": (0, 200, 0)}
    reader = one(tmp_path, png(COLOURS[LABELS]), legend=legend)
    assert (reader.classes, labels_of(reader)) == (("ground", "tree"), [[[0, 255, 1], [1, 1, 255]]])


def test_a_legend_of_greys(tmp_path):
    reader = one(
        tmp_path,
        png((LABELS > 1).astype(np.uint8) * 255),
        legend={"background": (0, 0, 0), "object": (255, 255, 255)},
    )
    assert labels_of(reader) == [(LABELS > 1).astype(int).tolist()]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            png(COLOURS[LABELS + 1]),
            {"legend": {"a": (200, 0, 0), "b": (0, 200, 0)}},
            r"not in the legend: \[90, 90, 90\] \(3 pixels\)$",
        ),
        (MASK, {"classes": ("a", "b")}, r"mask: values that are no class: 2 \(3 pixels\)"),
        (MASK[:50], {"classes": ("a", "b")}, "mask: damaged image"),
        (b"", {"classes": ("a", "b")}, "mask: empty file"),
        (
            png(COLOURS[LABELS]),
            {"classes": ("a", "b")},
            r"colours \(3: \[0, 0, 0\], \[0, 200, 0\], .* where there is no legend",
        ),
    ],
)
def test_masks_with_faults(tmp_path, data, options, message):
    (record,) = one(tmp_path, data, **options)
    with pytest.raises(ImageFault, match=message):
        record.maps["mask"]()


def test_images_without_masks_and_masks_without_images(tmp_path):
    source = tree(tmp_path, dict.fromkeys(["images/a.jpg", "images/b.jpg", "images/deep/d.jpg"], PHOTO))
    reader = ImageMask(tree(source, dict.fromkeys(["masks/a.png", "masks/c.png", "masks/other/e.png"], MASK)))
    first, second, third = reader
    assert (first.id, second.id, third.id) == ("images/a.jpg", "images/b.jpg", "images/deep/d.jpg")
    for record in (second, third):
        with pytest.raises(ImageFault, match="no mask of its name"):
            record.maps["mask"]()
    assert list(reader.skipped()) == [
        ("masks/c.png", "a mask without an image"),
        ("masks/other/e.png", "a mask without an image"),
    ]


def test_a_split_without_masks_is_named(tmp_path):
    source = tree(
        tmp_path,
        {
            "images/train/a.jpg": PHOTO,
            "images/test/b.jpg": PHOTO,
            "masks/train/a.png": MASK,
            "docs/c.jpg": PHOTO,
        },
    )
    reader = ImageMask(source)
    assert [r.id for r in reader] == ["images/train/a.jpg"]
    assert [path for path, why in reader.skipped() if why == "outside the folders of images and masks"] == [
        "docs",
        "images/test",
    ]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"cat/a.jpg": PHOTO}, {}, "no folders of images and masks, expected images/ and masks/"),
        (
            {"masks/a.png": png(LABELS // 2 * 255)},
            {},
            r"0 and 255 alone, and 255 is void.*legend=\{background: \[0,0,0\], object",
        ),
        (
            {"masks/a.png": png(COLOURS[LABELS])},
            {},
            "masks/a.png: got colours .* expected indices, or a legend. Write data.format.legend",
        ),
        ({"masks/a.png": png(LABELS * 0)}, {}, "1 classes, expected 2 to 255"),
        ({"masks/a.png": MASK}, {"classes": ("a", "b"), "void": "b"}, "1 classes with b as void"),
        (
            {"masks/a.png": MASK},
            {"classes": ("a", "b"), "legend": {"a": (0, 0, 0)}},
            "classes and a legend, expected one",
        ),
        (
            {"masks/a.png": MASK},
            {"legend": {"a": (0, 0, 0), "b": (0, 0, 0)}},
            r"the colour \[0, 0, 0\] of 'b' again",
        ),
        (
            {"masks/a.png": MASK, "class_dict.csv": "name,r,g,b\na,1,2\n"},
            {},
            "class_dict.csv:2: got 'a,1,2', expected a name and three",
        ),
        (
            {"masks/a.png": MASK, "class_dict.csv": "a,1,2,3\na,1,2,4\n"},
            {},
            "class_dict.csv:2: got 'a' again",
        ),
        ({"masks/a.png": MASK, "class_dict.csv": ""}, {}, "class_dict.csv: got no class"),
    ],
)
def test_faults_of_the_whole(tmp_path, files, options, message):
    with pytest.raises(RequestError, match=message):
        ImageMask(tree(tmp_path, {"images/a.jpg": PHOTO, **files}), **options)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            {"legend": {"a": [1, 2, 3], "b": [300, 1, 1]}},
            "data.format.legend.b.0: got 300, expected less than or equal to 255",
        ),
        ({"legend": [1]}, "data.format.legend: got [1], expected a valid dictionary"),
        ({"classes": ["a"]}, "data.format.classes: got ['a'], expected Tuple should have at least 2 items"),
        ({"void": 1.5}, "data.format.void: got 1.5, expected a valid integer"),
        ({"void": ["sky", 1.5]}, "data.format.void.1: got 1.5, expected a valid integer"),
    ],
)
def test_options_are_checked_in_the_recipe(options, fault):
    _, (found,) = check("format", Component(name="image_mask", **options), "data.format")
    assert str(found).startswith(fault)
    assert check("format", Component(name="image_mask", void=11, classes="names.txt"), "data.format")[1] == []


def test_names_of_two_words():
    assert parse(["64 128 64\tTraffic Light", "road: 1, 2, 3"], "x") == {
        "Traffic Light": (64, 128, 64),
        "road": (1, 2, 3),
    }


def test_other_data_are_not_taken_for_masks(make_folder, tmp_path):
    assert (
        ImageMask.guess(make_folder({"train/cat": 2, "train/dog": 2, "test/cat": 1})).confidence
        == Confidence.NONE
    )
    yolo = tree(tmp_path / "yolo", {"images/a.jpg": PHOTO, "labels/a.txt": "0 .5 .5 .1 .1"})
    assert ImageMask.guess(yolo).confidence == Confidence.NONE
    assert (
        ImageMask.guess(tree(tmp_path / "table", {"x.json": json.dumps({})}) / "x.json").confidence
        == Confidence.NONE
    )


CAMVID = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)


def test_camvid(shared_data):
    source = shared_data / "camvid/CamVid"
    assert [folders.split for folders in find(open_tree(source, ""))] == ["test", "train", "val"]
    reader = ImageMask(source, classes=CAMVID, void=11)
    records = list(reader)
    assert [sum(r.split == split for r in records) for split in ("train", "val", "test")] == [74, 21, 47]
    assert (reader.classes, list(reader.skipped())) == (CAMVID, [])
    for record in records[::20]:
        labels = mask.decode(record.maps["mask"]())
        assert mask.fault(labels, (360, 480), CAMVID) is None
        assert {0, 1, 3} <= set(np.unique(labels)) <= {*range(11), 255}
