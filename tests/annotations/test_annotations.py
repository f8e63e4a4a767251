"""Masks and boxes: encoded and back, each fault in words, and a dataset prepared of them."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cvflow.annotations import KINDS, box, mask
from cvflow.annotations.image import ImageFault, encode_png
from cvflow.config import SplitRule
from cvflow.dataset import workers
from cvflow.dataset.prepare import inspect, prepare
from cvflow.dataset.prepared import PreparedDataset, directory_digest
from cvflow.formats.record import Format, Record
from cvflow.types import Schema

CLASSES = ("sky", "road", "car")
MASKED = Schema(("image",), {"mask": "binary"}, kinds={"mask": "mask"})
BOXED = Schema(("image",), {"label": "int32", "box": "list<float>"}, stratify="label", kinds={"box": "box"})
SIZE = (12, 10)


class Given(Format):
    """Records as they are given."""

    classes = CLASSES

    def __init__(self, records):
        self.records = records

    def __iter__(self):
        return iter(self.records)


def picture(i, size=SIZE):
    return encode_png(np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8))


def labels(i, size=SIZE):
    return np.random.default_rng(i).integers(0, len(CLASSES), size, dtype=np.uint8)


def masked(i, data=None, split=None, size=SIZE):
    """data: the mask's bytes, an array, or what raises."""
    value = labels(i) if data is None else data
    read = (
        value
        if callable(value)
        else partial(bytes, value if isinstance(value, bytes) else mask.encode(value))
    )
    return Record(
        f"{i:03d}",
        f"images/{i:03d}.png",
        {"image": partial(picture, i, size)},
        {},
        split,
        maps={"mask": read},
    )


def boxed(i, edges, split=None):
    return Record(
        f"{i:03d}",
        f"images/{i:03d}.png",
        {"image": partial(picture, i)},
        {"label": i % 3, "box": edges},
        split,
    )


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_mask_is_what_was_encoded(values):
    assert np.array_equal(mask.decode(mask.encode(values)), values)
    assert mask.count(values).sum() == values.size


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_mask_is_a_fault_and_no_traceback(at, value):
    data = bytearray(mask.encode(labels(0)))
    data[at % len(data)] = value
    try:
        decoded = mask.decode(bytes(data))
    except ImageFault:
        return
    assert decoded.dtype == np.uint8


def test_a_colour_image_is_no_mask():
    with pytest.raises(ImageFault, match="mode RGB"):
        mask.decode(picture(0))


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([1, 1, 5, 5], None),
        ([0, 0, 10, 12], None),
        ([-0.3, 0, 10.3, 12], None),
        ([5, 1, 5, 9], "without area: [5, 1, 5, 9]"),
        ([8, 1, 5, 9], "without area"),
        ([1, 1, 12, 5], "outside the image: [1, 1, 12, 5] (left, top, right, bottom) in 10x12"),
        ([1, 1, float("nan"), 5], "no number: [1, 1, nan, 5]"),
        ([1, 1, float("inf"), 5], "no number"),
    ],
)
def test_what_is_wrong_with_a_box(edges, words):
    found = box.fault(box.decode(edges), SIZE, CLASSES)
    assert found is None if words is None else words in found


@pytest.mark.parametrize(
    ("value", "words"),
    [([1, 2, 3], "3 numbers"), (["a", 1, 2, 3], "no list of numbers"), ("abcd", "no list")],
)
def test_what_is_no_box(value, words):
    with pytest.raises(ImageFault, match=words):
        KINDS["box"].decode(value)


def gone():
    raise ImageFault("no mask: masks/007.png")


def lost():
    raise FileNotFoundError(2, "No such file or directory")


WRONG = {
    "labels out of range in the mask: 7 (2 pixels), 200 (1 pixels); 0 to 2 are classes, 255 is void": np.pad(
        np.array([[7, 7, 200]], np.uint8), ((0, 11), (0, 7)), constant_values=255
    ),
    "a mask of 4x3 pixels for an image of 10x12": np.zeros((3, 4), np.uint8),
    "no mask: masks/007.png": gone,
    "unreadable file: No such file or directory": lost,
    "an unreadable mask": b"no png",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_mask_is_left_out_and_named(words):
    found = inspect(Given([masked(0), masked(7, WRONG[words]), masked(2)]), MASKED)
    (finding,) = found.findings[:1]
    assert (finding.file, finding.action, finding.topic) == ("images/007.png", "left out", "wrong annotation")
    assert finding.what.startswith(words)
    assert found.counts["train"] == 2
    assert [record.id for record in finding.records] == ["007"]


def test_a_record_without_its_annotation_is_named_unless_it_has_a_default():
    bare = Record("x", "x.png", {"image": partial(picture, 0)}, {})
    assert inspect(Given([masked(1), bare]), MASKED).findings[0].what == "no mask"
    optional = Schema(("image",), {"mask": "binary"}, defaults={"mask": None}, kinds={"mask": "mask"})
    assert inspect(Given([masked(1), bare]), optional).counts["train"] == 2


def test_images_of_one_record_have_one_size():
    pair = Record("x", "x.png", {"left": partial(picture, 0), "right": partial(picture, 1, (12, 11))}, {})
    (finding,) = inspect(Given([pair]), Schema(("left", "right"), {})).findings
    assert (finding.what, finding.topic) == (
        "images of different sizes: 10x12 and 11x12 pixels",
        "unreadable",
    )


@pytest.mark.parametrize("processes_from", [10_000, 1])
def test_masks_are_prepared_as_they_are_and_their_pixels_counted(tmp_path, monkeypatch, processes_from):
    monkeypatch.setattr(workers, "PROCESSES_FROM", processes_from)
    records = [masked(i, split="train" if i < 6 else "test") for i in range(9)]
    records[1] = masked(1, np.full(SIZE, 255, np.uint8), "train")
    validation = prepare(Given(records), MASKED, "any", SplitRule(val=0), tmp_path / "data", 64)
    dataset = PreparedDataset(tmp_path / "data")
    for split, numbers in (("train", range(6)), ("test", range(6, 9))):
        assert [row["mask"] for row in dataset.split(split).rows(0, 9, ["mask"])] == [
            records[i].maps["mask"]() for i in numbers
        ]
    trained = np.concatenate([labels(i).ravel() for i in (0, 2, 3, 4, 5)])
    assert dataset.info.extra["pixel_counts"]["train"] == dict(
        zip(CLASSES, np.bincount(trained, minlength=3).tolist(), strict=True)
    )
    assert validation.facts["void"] == round(1 / 9, 4)


def test_a_class_without_a_pixel_in_train_is_named():
    records = [masked(i, np.minimum(labels(i), 1), "train") for i in range(3)]
    what = [f"{finding}" for finding in inspect(Given(records), MASKED).findings]
    assert what == ["class 'car': no pixel in the training masks"]


def test_a_changed_mask_is_other_data_and_a_wrong_one_too(tmp_path):
    digests = []
    for name, changed in (
        ("a", masked(1)),
        ("b", masked(1)),
        ("c", masked(1, labels(5))),
        ("d", masked(1, b"no png")),
    ):
        prepare(
            Given([masked(0), changed, masked(2)]),
            MASKED,
            "any",
            SplitRule(val=0, test=0),
            tmp_path / name,
            64,
        )
        digests.append(
            (PreparedDataset(tmp_path / name).info.source_digest, directory_digest(tmp_path / name))
        )
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert len({digest for digest, _ in digests}) == 3


def test_boxes_are_prepared_and_wrong_ones_left_out(tmp_path):
    records = [boxed(i, [0, 0, 5 + i, 6]) for i in range(6)]
    found = prepare(Given(records), BOXED, "any", SplitRule(val=0, test=0), tmp_path / "data", 64)
    assert found.counts["train"] == 6
    rows = PreparedDataset(tmp_path / "data").split("train")
    assert rows.column("box") == [[0, 0, 5 + i, 6] for i in range(6)]
    wrong = inspect(Given([*records, boxed(6, [0, 0, 50, 6])]), BOXED).findings[0]
    assert (wrong.file, wrong.topic) == ("images/006.png", "wrong annotation")


def test_one_image_in_two_splits_is_found_whatever_the_annotation():
    same = {"image": partial(picture, 1)}
    records = [
        masked(0, split="train"),
        masked(1, split="train"),
        Record("t", "t.png", same, {}, "test", maps=masked(2).maps),
    ]
    finding = next(f for f in inspect(Given(records), MASKED).findings if f.topic == "train and test share")
    assert "the same bytes as images/001.png in train" in finding.what
    assert [record.id for record in finding.records] == ["t", "001"]


def test_a_group_stays_in_one_split_through_prepare(tmp_path):
    people = [f"p{i}" for i in range(12)]
    records = [
        Record(
            f"{who}/{n}",
            f"{who}/{n}.png",
            {"image": partial(picture, i * 5 + n)},
            {"label": i % 3},
            group=who,
        )
        for i, who in enumerate(people)
        for n in range(5)
    ]
    schema = Schema(("image",), {"label": "int32"}, stratify="label")
    prepare(Given(records), schema, "any", SplitRule(val=0.2, test=0.2), tmp_path / "data", 64)
    dataset = PreparedDataset(tmp_path / "data")
    found = {
        split: {id.split("/")[0] for id in dataset.split(split).column("id")}
        for split in ("train", "val", "test")
    }
    assert all(found.values())
    assert sum(map(len, found.values())) == len(people)
    assert set().union(*found.values()) == set(people)
