"""Scenes of digits: the same pixels everywhere, annotations that fit, no digit in two splits."""

import hashlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from cvflow.annotations import mask
from cvflow.annotations.image import decode
from cvflow.errors import RequestError
from cvflow.formats.built_in.digit_scenes import DigitBoxes, DigitScenes
from cvflow.formats.built_in.glyph_layout import Placed, box_of, cover_of, mask_of, place
from cvflow.formats.built_in.integer_stream import Draw

RING = np.pad(np.full((4, 4), 16), 2) - np.pad(np.full((2, 2), 16), 3)
BLOCK = np.full((8, 8), 16)


def test_the_stream_of_numbers_is_pinned():
    """What NumPy promises to keep: were it otherwise, every scene would be another."""
    draw = Draw(0, 7, 1)
    assert [draw.below(1000) for _ in range(3)] == [644, 238, 75]
    assert Draw(5).bytes(3).tolist() == Draw(5).bytes(9)[:3].tolist()


def test_the_same_pixels_everywhere():
    digest = hashlib.sha256()
    for record in list(DigitScenes(None, count=12, size=64)) + list(DigitBoxes(None, count=12, size=64)):
        digest.update(decode(record.images["image"]()).tobytes())
        digest.update(repr(record.annotation).encode())
        for read in record.maps.values():
            digest.update(mask.decode(read()).tobytes())
    assert digest.hexdigest()[:16] == "0bb0a001f21dd0df"


@pytest.mark.parametrize(
    "reader", [DigitScenes(None, count=18), DigitBoxes(None, count=18)], ids=["masks", "boxes"]
)
def test_scenes_are_varied_and_the_same_again(reader):
    records = list(reader)
    pictures = [r.images["image"]() for r in records]
    assert len(set(pictures)) == 18
    assert [r.images["image"]() for r in reversed(list(reader))] == pictures[::-1], "whatever was made before"
    assert Counter(r.split for r in records) == {"train": 12, "val": 3, "test": 3}
    assert {decode(p).shape for p in pictures} == {(96, 96, 3)}


def test_masks_have_the_classes_and_void_only_between_digits():
    reader = DigitScenes(None, count=30, digits=(3, 8))
    assert reader.classes == ("background", "3", "8")
    pixels = np.zeros(256, dtype=int)
    for record in reader:
        labels = mask.decode(record.maps["mask"]())
        assert mask.fault(labels, (96, 96), reader.classes) is None
        counts = mask.count(labels)
        assert counts[1] + counts[2] > 50
        assert counts[255] < 0.2 * (counts[1] + counts[2])
        pixels += counts
    assert 0.5 < pixels[1] / pixels[2] < 2
    assert pixels[255] > 0


def test_a_glyph_over_another():
    draw = Draw(1)
    covers = [cover_of(BLOCK, 20, draw, turn=0, squeeze=0) for _ in range(2)]
    labels = mask_of([Placed(0, covers[0], 4, 4), Placed(1, covers[1], 14, 14)], (1, 2), 40)
    assert set(np.unique(labels)) == {0, 1, 2, 255}
    upper = np.zeros((40, 40), dtype=bool)
    upper[14:34, 14:34] = covers[1] >= 128
    assert (labels == 2).sum() == upper.sum(), "the later one is whole"
    lies_beside_upper = np.zeros_like(upper)
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        lies_beside_upper |= np.roll(upper, shift, axis)
    assert (lies_beside_upper | (labels != 255)).all()


@pytest.mark.parametrize("size", [32, 96])
def test_boxes_hold_their_digit_and_nothing_is_cut_off(size):
    for record in DigitBoxes(None, count=40, size=size):
        x0, y0, x1, y1 = record.annotation["box"]
        assert 0 <= x0 < x1 <= size
        assert 0 <= y0 < y1 <= size
    for number in range(40):
        (placed,) = place([RING, BLOCK], size, Draw(number), 1, size // 4, size * 3 // 4)
        labels = mask_of([placed], (1, 1), size)
        rows, columns = np.nonzero(labels)
        assert box_of(placed) == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_overlaps_are_small():
    for number in range(20):
        placed = place([BLOCK], 64, Draw(number), 6, 16, 32)
        alone = [int((p.cover >= 128).sum()) for p in placed]
        labels = mask_of(placed, (1,), 64)
        assert (labels > 0).sum() >= 0.6 * sum(alone)


def test_no_digit_is_in_two_splits():
    found = DigitScenes(None)._digits
    glyphs = [{glyph.tobytes() for glyph in found[split].glyphs} for split in ("train", "val", "test")]
    assert [len(g) for g in glyphs] == [1197, 300, 300]
    assert not any(a & b for a, b in pairwise([*glyphs, glyphs[0]]))
    assert all(set(found[split].names) == set(range(10)) for split in found)


def test_there_is_no_source(tmp_path):
    with pytest.raises(RequestError, match=r"data\.source.*the scenes are built in"):
        DigitBoxes(tmp_path)
