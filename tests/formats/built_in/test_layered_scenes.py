"""Layered scenes: the maps agree with the views where nothing is hidden; the same scenes each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvflow.annotations import KINDS
from cvflow.annotations.image import decode
from cvflow.errors import RequestError
from cvflow.formats.built_in.layered_scenes import TEST_DIGITS, LayeredScenes, digits, scene
from cvflow.formats.built_in.random_layers import random_layers
from cvflow.formats.built_in.textured_layers import Layer, Texture, render
from cvflow.ops.warp import warp

SIZE = (48, 64)


def views(pairs: str, number: int) -> tuple[list[Layer], tuple[np.ndarray, ...]]:
    random = np.random.default_rng(number)
    # One of two words.
    layers = random_layers(random, pairs, SIZE, digits()[:50], 10.0)  # type: ignore[arg-type]
    return layers, render(layers, SIZE)


def looked_up(image: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return warp(x, torch.from_numpy(offsets).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("pairs", ["stereo", "flow"])
@pytest.mark.parametrize("number", range(4))
def test_the_second_view_looked_up_is_the_first(pairs: str, number: int) -> None:
    """Where it is seen; bilinear look-up blurs, and mixes layers at their borders."""
    _, (first, second, forth, back, seen, seen_back) = views(pairs, number)
    for image, other, offsets, mask in ((first, second, forth, seen), (second, first, back, seen_back)):
        assert 0.5 < mask.mean() < 1
        gaps = np.abs(looked_up(other, offsets) - image).mean(axis=2)
        assert np.median(gaps[mask]) < 6
        assert np.median(np.abs(other.astype(float) - image).mean(axis=2)[mask]) > 20
        assert np.median(gaps[~mask]) > 15


@pytest.mark.parametrize("pairs", ["stereo", "flow"])
def test_what_is_seen_comes_back_to_its_place(pairs: str) -> None:
    """forth and back are each other's inverse: back, at the rounded place, is about -forth."""
    _, (_, _, forth, back, seen, _) = views(pairs, 1)
    rows, columns = np.nonzero(seen)
    u, v = forth[rows, columns].T
    to = np.rint(rows + v).astype(int), np.rint(columns + u).astype(int)
    off = np.hypot(*(back[to] + forth[rows, columns]).T)
    assert np.median(off) < 0.1
    assert np.mean(off > 1) < 0.1  # a neighbour on another layer


def test_whole_pixels_are_copied_exactly() -> None:
    random = np.random.default_rng(0)
    plain = Texture(
        random.uniform(0, 255, (9, 9, 3)),
        random.uniform(0, 255, (9, 9, 3)),
        (7.0, 3.0),
        np.zeros((10, 10)),
        np.zeros(3),
        2.0,
    )
    shifted = render([Layer(plain, np.array([[1.0, 0, -4], [0, 1, 0]]))], SIZE)
    assert np.array_equal(shifted.second[:, :-4], shifted.first[:, 4:])
    assert shifted.seen.sum() == 48 * 60
    assert not shifted.seen[:, :4].any()


def test_a_nearer_layer_hides_a_farther_one() -> None:
    layers, (_, second, forth, _, seen, _) = views("stereo", 2)
    disparity = -forth[..., 0]
    hidden = ~seen & (np.arange(64) - disparity >= 0)
    rows, columns = np.nonzero(hidden)
    assert len(rows) > 20
    for y, x in zip(
        rows[::7], columns[::7], strict=True
    ):  # some pixel of the row with a greater disparity lands there
        lands = np.arange(64) - disparity[y]
        assert (np.abs(lands - lands[x])[disparity[y] > disparity[y, x] + 0.2] < 1).any()


@pytest.mark.parametrize(
    ("pairs", "names"), [("stereo", {"disparity", "disparity_right"}), ("flow", {"flow"})]
)
def test_records(pairs: str, names: set[str]) -> None:
    reader = LayeredScenes(None, pairs=pairs, count=10, size=SIZE)  # type: ignore[arg-type]
    records = list(reader)
    assert [r.split for r in records] == [None] * 8 + ["test"] * 2
    for record in records[::4]:
        assert {decode(read()).shape for read in record.images.values()} == {(*SIZE, 3)}
        assert set(record.maps) == names
        for name, read in record.maps.items():
            kind = KINDS[name.removesuffix("_right")]
            value = kind.decode(read())
            assert kind.fault(value, SIZE, ()) is None
            assert not np.isnan(value).any()


@pytest.mark.parametrize("pairs", ["stereo", "flow"])
def test_the_same_scenes_each_time(pairs: str) -> None:
    def made() -> list[tuple[str, list[bytes]]]:
        scene.cache_clear()
        records = LayeredScenes(None, pairs=pairs, count=5, size=SIZE)  # type: ignore[arg-type]
        return [(r.id, [read() for read in (*r.images.values(), *r.maps.values())]) for r in records]

    once = made()
    assert once == made()
    assert len({data for _, values in once for data in values}) == 5 * len(once[0][1])


SCENES = {
    ("stereo", 0, False): (131.663, 133.194, -3.7493, 14.8967),
    ("stereo", 4, False): (123.678, 124.199, -3.1633, 12.8111),
    ("stereo", 8, True): (132.746, 133.228, -2.7495, 12.8454),
    ("flow", 0, False): (129.984, 135.120, 0.8894, 12.4038),
    ("flow", 4, False): (125.499, 125.548, 0.3768, 13.6853),
    ("flow", 8, True): (130.627, 128.853, 1.3858, 12.0),
}
"""Means of the two views, mean of the offsets, greatest offset back.

The floors of tests and the figures of the documentation were measured on these scenes.
"""


@pytest.mark.parametrize("asked", SCENES)
def test_the_scenes_are_those_that_were_measured(asked: tuple[str, int, bool]) -> None:
    pairs, number, test = asked
    found = scene(pairs, SIZE, 16.0, 0, number, test)  # type: ignore[arg-type]
    figures = found.first.mean(), found.second.mean(), found.forth.mean(), np.abs(found.back).max()
    assert figures == pytest.approx(SCENES[asked], abs=0.01)


@pytest.mark.parametrize("pairs", ["stereo", "flow"])
def test_no_digit_of_test_is_in_train(pairs: str) -> None:
    trained, tested = digits()[:TEST_DIGITS], digits()[TEST_DIGITS:]
    assert {glyph.tobytes() for glyph in trained}.isdisjoint(glyph.tobytes() for glyph in tested)
    records = list(LayeredScenes(None, pairs=pairs, count=5, size=SIZE))  # type: ignore[arg-type]
    for number, record in enumerate(records):
        first_views = []
        for glyphs in (trained, tested):
            random = np.random.default_rng([0, number])
            layers = random_layers(random, pairs, SIZE, glyphs, 16.0)  # type: ignore[arg-type]
            first_views.append(render(layers, SIZE).first)
        first_view = decode(next(iter(record.images.values()))())
        from_test = record.split == "test"
        assert np.array_equal(first_view, first_views[from_test])
        assert not np.array_equal(first_view, first_views[not from_test])


def test_hidden_pixels_can_be_unknown() -> None:
    record = next(iter(LayeredScenes(None, count=5, size=SIZE, occluded=False)))
    assert 0.02 < np.isnan(KINDS["disparity"].decode(record.maps["disparity"]())).mean() < 0.5


def test_a_source_is_refused(tmp_path: object) -> None:
    with pytest.raises(RequestError, match="the scenes are built in"):
        LayeredScenes(tmp_path)  # type: ignore[arg-type]
