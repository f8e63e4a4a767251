"""Disparity and flow in their usual colours.

Maps are HxW or HxWx2, pixels; NaN = unknown, which is drawn black. Colours are HxWx3 uint8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
Colours = npt.NDArray[np.uint8]

NEAR_AND_FAR = np.array(
    [
        (48, 18, 59),
        (70, 107, 227),
        (40, 188, 235),
        (50, 242, 152),
        (164, 252, 60),
        (237, 208, 58),
        (250, 126, 33),
        (208, 47, 5),
        (122, 4, 3),
    ]
)
"""From 0 to the greatest disparity: dark blue, blue, green, yellow, red.

The lightness rises to the middle (after Mikhailov's Turbo, 2019).
"""

_ARCS = (
    (15, 0, 1, 1),
    (6, 1, 0, -1),
    (4, 1, 2, 1),
    (11, 2, 1, -1),
    (13, 2, 0, 1),
    (6, 0, 2, -1),
)
"""The arcs of the colour wheel: red, yellow, green, cyan, blue, magenta.

(steps, channel that is full, channel that changes, whether it rises).
"""


def disparity_colours(disparity: Array, most: float) -> Colours:
    """Return the colours of HxW disparities. most: the disparity from which all have the last colour."""
    valid = np.asarray(~np.isnan(disparity))
    share = np.nan_to_num(disparity) / most
    share = np.clip(share, 0, 1)
    steps = np.arange(len(NEAR_AND_FAR))
    place = share * steps[-1]
    red, green, blue = NEAR_AND_FAR.T
    channels = (
        np.interp(place, steps, red),
        np.interp(place, steps, green),
        np.interp(place, steps, blue),
    )
    return _on_black(np.dstack(channels), valid)


def flow_colours(flow: Array, most: float) -> Colours:
    """Return the colours of HxWx2 flow: the direction is the hue, the length the distance from white.

    most: the length of full colour; longer vectors are darker. See Baker et al. 2011, IJCV 92.
    """
    valid = np.asarray(~np.isnan(flow).any(axis=2))
    vectors = np.where(valid[..., None], flow, 0.0)
    u, v = np.moveaxis(vectors, 2, 0)
    length = np.hypot(u, v)[..., None]
    radius = length / most
    hue = _hue(u, v)
    inside = 1 - radius * (1 - hue)
    outside = 0.75 * hue
    colour = np.where(radius <= 1, inside, outside)
    return _on_black(255 * colour, valid)


def beside(pixels: Colours, colours: Colours) -> Colours:
    """Return an image and its map, resized: below it, or to the right of an image that is higher than wide.

    pixels: HxWxC, C 1 or 3.
    """
    height, width = pixels.shape[:2]
    image = np.broadcast_to(pixels, (height, width, 3))
    if colours.shape != image.shape:
        resized = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
        colours = np.asarray(resized)
    axis = 0 if width >= height else 1
    return np.concatenate([image, colours], axis=axis)


def _on_black(colours: Array, valid: npt.NDArray[np.bool_]) -> Colours:
    """Return the colours as bytes, black where a pixel is not valid."""
    valid_HW1 = valid[..., None]
    drawn = np.where(valid_HW1, colours, 0)
    rounded = drawn.round()
    return rounded.astype(np.uint8)


def _hue(u: Array, v: Array) -> Array:
    """Return HxWx3, the colour of each direction, interpolated on the wheel."""
    # The turn of the vector, 0..1.
    angle = np.arctan2(-v, -u)
    turn = (angle / math.pi + 1) / 2
    count = len(WHEEL)
    place = turn * (count - 1)
    low = place.astype(int) % count
    high = (low + 1) % count
    weight = (place % 1)[..., None]
    first = WHEEL[low]
    second = WHEEL[high]
    hue: Array = first + weight * (second - first)
    return hue


def _wheel() -> Array:
    colours = []
    for steps, full, changing, rises in _ARCS:
        for i in range(steps):
            colour = [0.0, 0.0, 0.0]
            colour[full] = 1.0
            colour[changing] = i / steps if rises == 1 else 1 - i / steps
            colours.append(colour)
    return np.array(colours)


WHEEL = _wheel()
"""55 x RGB, 0..1."""
