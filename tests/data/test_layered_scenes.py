"""Layered scenes: what the maps say is what the views show, hidden places apart; the same scenes each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvflow.data.annotations import KINDS
from cvflow.data.formats.layered_scenes import LayeredScenes, digits
from cvflow.data.images import decode
from cvflow.data.layers import Layer, Texture, drawn, render
from cvflow.errors import RequestError
from cvflow.ops.warp import warp

SIZE = (48, 64)


def views(pairs: str, number: int) -> tuple[list[Layer], tuple[np.ndarray, ...]]:
    layers = drawn(np.random.default_rng(number), pairs, SIZE, digits()[:50], 10.0)  # type: ignore[arg-type]  # one of two words
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
    plain = Texture(random.uniform(0, 255, (9, 9, 3)), random.uniform(0, 255, (9, 9, 3)), (7.0, 3.0), np.zeros((10, 10)), np.zeros(3), 2.0)
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
    for y, x in zip(rows[::7], columns[::7], strict=True):  # some pixel of the row with a greater disparity lands there
        lands = np.arange(64) - disparity[y]
        assert (np.abs(lands - lands[x])[disparity[y] > disparity[y, x] + 0.2] < 1).any()


@pytest.mark.parametrize(("pairs", "names"), [("stereo", {"disparity", "disparity_right"}), ("flow", {"flow"})])
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
    again = list(LayeredScenes(None, pairs=pairs, count=10, size=SIZE))  # type: ignore[arg-type]
    assert [r.images[next(iter(r.images))]() for r in records] == [r.images[next(iter(r.images))]() for r in again]


def test_hidden_pixels_can_be_unknown() -> None:
    record = next(iter(LayeredScenes(None, count=5, size=SIZE, occluded=False)))
    assert 0.02 < np.isnan(KINDS["disparity"].decode(record.maps["disparity"]())).mean() < 0.5


def test_a_source_is_refused(tmp_path: object) -> None:
    with pytest.raises(RequestError, match="the scenes are built in"):
        LayeredScenes(tmp_path)  # type: ignore[arg-type]
