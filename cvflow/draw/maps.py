"""Disparity and flow in their usual colours. Maps are HxW or HxWx2, pixels, NaN = unknown, which is black; colours are HxWx3 uint8."""

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
"""From 0 to the greatest disparity: dark blue, blue, green, yellow, red; lightness rises to the middle (after Mikhailov's Turbo, 2019)."""

_ARCS = ((15, 0, 1, 1), (6, 1, 0, -1), (4, 1, 2, 1), (11, 2, 1, -1), (13, 2, 0, 1), (6, 0, 2, -1))
"""(steps, channel that is full, channel that changes, whether it rises) of the colour wheel: red, yellow, green, cyan, blue, magenta."""


def disparity_colours(disparity: Array, most: float) -> Colours:
    """HxW. most: the disparity from which on all have the last colour."""
    known = np.asarray(~np.isnan(disparity))
    place = np.clip(np.nan_to_num(disparity) / most, 0, 1) * (len(NEAR_AND_FAR) - 1)
    channels = [np.interp(place, np.arange(len(NEAR_AND_FAR)), channel) for channel in NEAR_AND_FAR.T]
    return np.where(known[..., None], np.dstack(channels), 0).round().astype(np.uint8)


def flow_colours(flow: Array, most: float) -> Colours:
    """HxWx2: the direction is the hue, the length how far from white (Baker et al. 2011, IJCV 92).

    most: the length of full colour; longer vectors are darker.
    """
    known = np.asarray(~np.isnan(flow).any(axis=2))
    u, v = np.moveaxis(np.where(known[..., None], flow, 0.0), 2, 0)
    radius = (np.hypot(u, v) / most)[..., None]
    place = (np.arctan2(-v, -u) / math.pi + 1) / 2 * (len(WHEEL) - 1)
    low = place.astype(int) % len(WHEEL)
    hue = WHEEL[low] + (place % 1)[..., None] * (WHEEL[(low + 1) % len(WHEEL)] - WHEEL[low])
    colour = np.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    return np.where(known[..., None], 255 * colour, 0).round().astype(np.uint8)


def beside(pixels: Colours, colours: Colours) -> Colours:
    """The image (HxWxC, C 1 or 3) and the map at its size: below it, or to the right of one that is higher than wide."""
    height, width = pixels.shape[:2]
    image = np.broadcast_to(pixels, (height, width, 3))
    if colours.shape != image.shape:
        colours = np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST))
    return np.concatenate([image, colours], axis=0 if width >= height else 1)


def _wheel() -> Array:
    colours = []
    for steps, full, changing, rises in _ARCS:
        for i in range(steps):
            colour = [0.0, 0.0, 0.0]
            colour[full], colour[changing] = 1.0, i / steps if rises == 1 else 1 - i / steps
            colours.append(colour)
    return np.array(colours)


WHEEL = _wheel()
"""55 x RGB, 0..1."""
