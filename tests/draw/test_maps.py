"""Colours of disparity and flow."""

from __future__ import annotations

import numpy as np
import pytest

from cvflow.draw.maps import WHEEL, beside, disparity_colours, flow_colours


def test_disparity_runs_from_blue_to_red_and_unknown_is_black() -> None:
    colours = disparity_colours(np.array([[0.0, 5.0, 10.0, 50.0, np.nan]]), most=10)
    near, middle, far, beyond, unknown = colours[0].astype(int).tolist()
    assert near[2] > near[0]
    assert middle[1] > max(middle[0], middle[2])
    assert far[0] > far[2]
    assert beyond == far
    assert unknown == [0, 0, 0]


def test_every_disparity_has_its_own_colour() -> None:
    colours = disparity_colours(np.linspace(0, 20, 64)[None], most=20)[0]
    assert len(np.unique(colours, axis=0)) == 64


def test_the_wheel_has_55_colours_and_no_jump() -> None:
    assert WHEEL.shape == (55, 3)
    assert np.abs(WHEEL - np.roll(WHEEL, 1, axis=0)).max() <= 0.26
    assert (WHEEL.max(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("vector", "colour"),
    [
        ((0, 0), (255, 255, 255)),
        ((10, 0), (255, 0, 0)),
        ((20, 0), (191, 0, 0)),
        ((5, 0), (255, 128, 128)),
        ((np.nan, np.nan), (0, 0, 0)),
    ],
)
def test_colours_of_flow(vector: tuple[float, float], colour: tuple[int, int, int]) -> None:
    assert flow_colours(np.array([[vector]]), most=10)[0, 0].tolist() == pytest.approx(colour, abs=12)


def test_directions_go_round_as_in_the_benchmark() -> None:
    """Right is red, down yellow, left cyan or blue, up violet."""
    right, down, left, up = flow_colours(np.array([[[9.0, 0], [0, 9], [-9, 0], [0, -9]]]), most=9)[0].astype(
        int
    )
    assert right.argmax() == 0
    assert min(down[:2]) > down[2]
    assert left.argmin() == 0
    assert up[1] == up.min()


def test_beside_fits_the_image() -> None:
    grey, colours = np.full((8, 10, 1), 7, np.uint8), np.full((4, 5, 3), 9, np.uint8)
    found = beside(grey, colours)
    assert found.shape == (16, 10, 3)
    assert found[0, 0].tolist() == [7, 7, 7]
    assert found[15, 9].tolist() == [9, 9, 9]
    assert beside(np.zeros((9, 4, 3), np.uint8), colours).shape == (9, 8, 3)
