"""What each reader finds, and what it says where it finds nothing."""

import os

import numpy as np
import pytest

from cvflow.annotations.image import decode
from cvflow.errors import RequestError
from cvflow.formats.built_in.digits import Digits
from cvflow.formats.image_folder import ImageFolder


def test_digits():
    records = list(Digits(None))
    assert len(records) == 1797
    assert records[0].id == "digit-0000"
    assert {r.annotation["label"] for r in records} == set(range(10))
    pixels = np.stack([decode(r.images["image"](), 1) for r in records[:20]])
    assert pixels.shape == (20, 8, 8, 1)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_digits_have_no_source(tmp_path):
    with pytest.raises(RequestError, match=r"data\.source.*built in"):
        Digits(tmp_path)


def test_folders_in_fixed_order(make_folder):
    source = make_folder({"dog": 2, "cat": 1, "cat/nested": 1})
    reader = ImageFolder(source)
    assert reader.classes == ("cat", "dog")
    assert [(r.id, r.annotation["label"], r.split) for r in reader] == [
        ("cat/000.png", 0, None),
        ("cat/nested/000.png", 0, None),
        ("dog/000.png", 1, None),
        ("dog/001.png", 1, None),
    ]
    assert [r.id for r in reader] == [r.id for r in reader]


def test_given_splits(make_folder):
    reader = ImageFolder(make_folder({"train/a": 2, "train/b": 1, "valid/a": 1, "test/b": 1, "notes/x": 1}))
    assert [(r.id, r.split) for r in reader] == [
        ("test/b/000.png", "test"),
        ("train/a/000.png", "train"),
        ("train/a/001.png", "train"),
        ("train/b/000.png", "train"),
        ("valid/a/000.png", "val"),
    ]
    assert list(reader.skipped()) == [("notes", "outside the class folders")]


def test_a_class_called_train(make_folder):
    assert ImageFolder(make_folder({"car": 1, "train": 1})).classes == ("car", "train")


def test_images_in_one_folder_alone_are_no_classes(make_folder):
    """As data for detectors lie."""
    source = make_folder({"Annotations": 0, "ImageSets/Main": 0, "JPEGImages": 3})
    (source / "Annotations/000.xml").write_text("<annotation/>")
    message = (
        "images in 'JPEGImages' alone, none in Annotations, ImageSets, "
        "expected at least two class folders with training images"
    )
    with pytest.raises(RequestError, match=message):
        ImageFolder(source)
    make_folder({"Other/deep": 1})
    assert ImageFolder(source).classes == ("Annotations", "ImageSets", "JPEGImages", "Other"), (
        "the empty ones are named by what reads it"
    )


def test_what_is_skipped(make_folder):
    source = make_folder({"a": 1, "b": 1, "a/.thumbs": 1})
    (source / "a/notes.txt").write_text("x")
    (source / "a/.hidden.png").write_bytes(b"x")
    (source / "loose.png").write_bytes(b"x")
    (source / "a/gone.png").symlink_to(source / "nowhere.png")
    os.mkfifo(source / "a/pipe.png")
    reader = ImageFolder(source)
    assert len(list(reader)) == 2
    assert sorted(reader.skipped()) == [
        ("a/gone.png", "a broken link"),
        ("a/notes.txt", "not an image's file name"),
        ("a/pipe.png", "a special file"),
        ("loose.png", "outside the class folders"),
    ]


def test_link_loops_end_and_links_are_followed(make_folder, tmp_path):
    source = make_folder({"a": 1, "b": 1})
    elsewhere = make_folder({".": 2}, "elsewhere")
    (source / "a/loop").symlink_to(source / "a")
    (source / "a/up").symlink_to(source)
    (source / "c").symlink_to(elsewhere)
    reader = ImageFolder(source)
    assert [r.id for r in reader] == ["a/000.png", "b/000.png", "c/000.png", "c/001.png"]
    assert list(reader.skipped()) == [(name, "a link to a folder above it") for name in ("a/loop", "a/up")]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 0, "b": 0}, "no images in class folders"),
        ({"only": 3}, "one class: 'only'"),
        ({"train/a": 1, "train/b": 1, "test/c": 1}, "class 'c', not in train, expected one of a, b"),
        ({"test/a": 1, "val/a": 1}, "only 'test', 'val', expected a folder 'train'"),
    ],
)
def test_faults(make_folder, counts, message):
    with pytest.raises(RequestError, match=message):
        ImageFolder(make_folder(counts))


def test_missing_and_wrong_source(tmp_path):
    with pytest.raises(RequestError, match=r"data\.source: got nothing"):
        ImageFolder(None)
    with pytest.raises(RequestError, match="nowhere', which does not exist, expected a folder"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="file', a file"):
        ImageFolder(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no images in class folders"):
        ImageFolder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "classes", "count"), [("cifar10_jpg/test", 10, 2000), ("orl_faces", 40, 400)]
)
def test_published_folders(shared_data, name, classes, count):
    reader = ImageFolder(shared_data / name)
    ids = [r.id for r in reader]
    assert (len(reader.classes), len(ids), len(set(ids))) == (classes, count, count)
