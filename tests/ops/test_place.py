"""Places: there and back, one after the other; points, boxes, maps and vectors agree about where a
thing lies.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cvflow.ops.place import (
    Place,
    mirrored,
    resized,
    shifted,
    turned,
    upside_down,
    zoomed,
)

SIZE = (40, 60)
SIDES = st.integers(5, 90)
SHIFTS = st.integers(-20, 20)
UPRIGHT = st.one_of(
    st.tuples(SIDES, SIDES).map(lambda new: resized(SIZE, new)),
    st.tuples(SHIFTS, SHIFTS).map(lambda by: shifted(SIZE, *by)),
    st.just(mirrored(SIZE)),
    st.just(upside_down(SIZE)),
    st.floats(0.4, 2.5).map(lambda scale: zoomed(SIZE, scale)),
)
ANY = st.one_of(UPRIGHT, st.floats(-180, 180).map(lambda angle: turned(SIZE, angle)))
POINTS = torch.tensor([[0.0, 0.0], [60.0, 0.0], [13.5, 7.25], [59.0, 39.0]], dtype=torch.float64)


def close(one: Tensor, two: Tensor) -> None:
    torch.testing.assert_close(one, two, atol=1e-8, rtol=1e-8)


@settings(max_examples=80, deadline=None)
@given(ANY, ANY)
def test_back_undoes_then(first: Place, second: Place) -> None:
    both = first.then(second)
    assert both.size == first.size
    close(both.points(POINTS), second.points(first.points(POINTS)))
    close(both.then(second.back(SIZE)).points(POINTS), first.points(POINTS))
    close(both.back(SIZE).points(both.points(POINTS)), POINTS)
    close(Place(SIZE).then(first).points(POINTS), first.points(POINTS))


@settings(max_examples=60, deadline=None)
@given(ANY, ANY, ANY)
def test_steps_can_be_grouped_as_one_likes(first: Place, second: Place, third: Place) -> None:
    close(first.then(second).then(third).points(POINTS), first.then(second.then(third)).points(POINTS))


@settings(max_examples=60, deadline=None)
@given(ANY)
def test_a_box_is_around_its_moved_corners(place: Place) -> None:
    box = torch.tensor([[10.0, 5.0, 30.0, 25.0]], dtype=torch.float64)
    corners = torch.tensor([[10.0, 5], [30, 5], [10, 25], [30, 25]], dtype=torch.float64)
    moved = place.points(corners)
    close(place.boxes(box)[0], torch.cat([moved.amin(0), moved.amax(0)]))


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SHIFTS, SHIFTS)
def test_a_box_goes_there_and_comes_back_cut_off_at_the_border(
    height: int, width: int, down: int, right: int
) -> None:
    place = resized(SIZE, (height, width)).then(shifted((height, width), down, right))
    box = torch.tensor([[10.0, 5.0, 30.0, 25.0]])
    torch.testing.assert_close(place.boxes_back(place.boxes(box)), box, atol=1e-3, rtol=1e-4)
    beyond = place.boxes(torch.tensor([[-5.0, -5.0, 99.0, 99.0]]))
    torch.testing.assert_close(place.boxes_back(beyond), torch.tensor([[0.0, 0, 60, 40]]), atol=1e-3, rtol=0)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SHIFTS, SHIFTS)
def test_maps_points_and_boxes_agree(height: int, width: int, down: int, right: int) -> None:
    """A map that says at each pixel of the model where it is in the original says, brought back,
    where each pixel is.
    """
    place = resized(SIZE, (height, width)).then(shifted((height, width), down, right))
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([columns.flatten(), rows.flatten()], 1).double()
    origin = place.back((height, width)).points(centres).T.reshape(2, height, width).float()
    back = place.map(origin)
    assert back.shape == (2, *SIZE)
    own_rows, own_columns = torch.meshgrid(
        torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij"
    )
    seen = place.points(torch.stack([own_columns.flatten(), own_rows.flatten()], 1))
    inside = (seen[:, 0] > 1) & (seen[:, 0] < width - 1) & (seen[:, 1] > 1) & (seen[:, 1] < height - 1)
    truth = torch.stack([own_columns, own_rows])
    error = (back - truth).abs().amax(0).flatten()[inside]
    pixel = max(SIZE[0] / height, SIZE[1] / width, 1.0)
    assert not len(error) or error.max() <= pixel


@settings(max_examples=60, deadline=None)
@given(UPRIGHT)
def test_vectors_come_back_as_the_difference_of_points(place: Place) -> None:
    start, end = torch.tensor([[5.0, 6.0]]), torch.tensor([[9.0, 3.0]])
    seen = (place.points(end) - place.points(start)).view(2, 1, 1)
    torch.testing.assert_close(
        place.vectors_back(seen).flatten(), torch.tensor([4.0, -3.0]), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        place.vectors_back(seen[:1]).flatten(), torch.tensor([4.0]), atol=1e-4, rtol=1e-4
    )


def test_vectors_of_a_turned_image() -> None:
    place = turned(SIZE, 30, 2.0)
    seen = (place.points(torch.tensor([[9.0, 3.0]])) - place.points(torch.tensor([[5.0, 6.0]]))).view(2, 1, 1)
    back = place.vectors_back(seen.expand(2, 4, 5))
    torch.testing.assert_close(back[:, 2, 3], torch.tensor([4.0, -3.0]), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="rows do not stay rows"):
        place.vectors_back(seen[:1])


def test_a_map_is_put_where_it_was_seen_and_nan_elsewhere() -> None:
    map_1HW = torch.arange(24.0).view(1, 1, 4, 6)
    # the upper right quarter, enlarged
    half = Place((4, 6), ((2.0, 0.0, -6.0), (0.0, 2.0, 0.0)))
    put = half.put(map_1HW)
    assert put.shape == (1, 1, 4, 6)
    assert put[0, 0, :2, 3:].isfinite().all()
    assert int(put.isnan().sum()) == 24 - 6
    flipped = mirrored((4, 6)).put(map_1HW)
    assert torch.equal(flipped, map_1HW.flip(-1))


def test_a_unit_square_in_pixels() -> None:
    unit = Place((1, 1), ((2.0, 0.0, -1.0), (0.0, 2.0, 0.0)))
    assert unit.in_pixels((4, 6)) == Place((4, 6), ((2.0, 0.0, -6.0), (0.0, 2.0, 0.0)))
