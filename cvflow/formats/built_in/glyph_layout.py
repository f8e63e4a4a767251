"""Small grey glyphs, such as 8x8 digits, enlarged and placed in a scene, with their masks and boxes.

Integers throughout, so the layout is the same on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.mask import Labels
from cvflow.formats.built_in.integer_stream import Draw, Ints
from cvflow.ops.labels import VOID

ONE = 1 << 16
"""The number 1 in fixed point."""
OVERLAP = 0.2
"""Largest share of a new glyph that may lie over glyphs placed before it."""
_COVERED = 128
"""Cover, of 256, from which a pixel belongs to the glyph."""


class Placed(NamedTuple):
    """A glyph in a scene, at pixel (top, left).

    number: its index among the glyphs to choose from. cover: S x S, 0..256, how much of each
    pixel it covers.
    """

    number: int
    cover: Ints
    top: int
    left: int


def cover_of(glyph: Ints, side: int, draw: Draw, turn: int = 12, squeeze: int = 20) -> Ints:
    """Return side x side, 0..256: how much of each pixel the enlarged glyph covers.

    The glyph is turned by up to ``turn`` degrees, slanted, and narrowed by up to ``squeeze`` percent.
    """
    height, width = glyph.shape
    xx, xy, yx, yy = _random_matrix(height, width, side, draw, turn, squeeze)
    # Pixel centres, in half pixels from the middle.
    steps = 2 * np.arange(side, dtype=np.int64) + 1 - side
    rows = steps[:, None]
    columns = steps[None, :]
    offset_x = (xx * columns + xy * rows) // 2
    offset_y = (yx * columns + yy * rows) // 2
    middle_x = (width - 1) * ONE // 2
    middle_y = (height - 1) * ONE // 2
    # The padding lets the glyph's border fade to 0; it moves the origin by one pixel.
    values = sample(
        np.pad(glyph, 1),
        middle_x + offset_x + ONE,
        middle_y + offset_y + ONE,
    )
    # A soft edge: from 5 of 16, not covered, to 9 of 16, covered.
    cover = (values - 5 * 256) // 4
    return np.clip(cover, 0, 256)


def _random_matrix(
    height: int, width: int, side: int, draw: Draw, turn: int, squeeze: int
) -> tuple[int, int, int, int]:
    """Return xx, xy, yx, yy in fixed point: pixels of the glyph for a pixel of the square."""
    angle = math.radians(draw.between(-turn, turn))
    slant = draw.between(-20, 20) / 100
    narrow = 100 / (100 - draw.between(0, squeeze))
    # A tenth more than the glyph, so that its corners have room when it is turned.
    across = 1.1 * width / side
    down = 1.1 * height / side
    cos = math.cos(angle)
    sin = math.sin(angle)
    xx = across * narrow * (cos + slant * sin)
    xy = across * narrow * (sin - slant * cos)
    yx = -down * sin
    yy = down * cos
    return (
        round(ONE * xx),
        round(ONE * xy),
        round(ONE * yx),
        round(ONE * yy),
    )


def place(glyphs: Sequence[Ints], size: int, draw: Draw, count: int, least: int, most: int) -> list[Placed]:
    """Return up to ``count`` glyphs at random places of a size x size scene, with little overlap.

    least, most: the range of their sides, pixels.
    """
    placed: list[Placed] = []
    occupied = np.zeros((size, size), dtype=bool)
    for _ in range(3 * count):
        if len(placed) == count:
            break
        number = draw.below(len(glyphs))
        side = draw.between(least, most)
        cover = cover_of(glyphs[number], side, draw)
        top = draw.between(0, size - side)
        left = draw.between(0, size - side)
        shape = cover >= _COVERED
        region = occupied[top : top + side, left : left + side]
        overlap = (shape & region).sum()
        if overlap <= OVERLAP * shape.sum():
            placed.append(Placed(number, cover, top, left))
            region |= shape
    return placed


def mask_of(placed: Iterable[Placed], values: Sequence[int], size: int) -> Labels:
    """Return a size x size mask: ``values[number]`` on a glyph, 0 elsewhere.

    Where a glyph borders on one placed before it, the border is VOID.
    """
    mask = np.zeros((size, size), dtype=np.uint8)
    for number, cover, top, left in placed:
        side = len(cover)
        region = mask[top : top + side, left : left + side]
        shape = cover >= _COVERED
        border = _dilated(shape) & ~shape
        region[border & (region > 0)] = VOID
        region[shape] = values[number]
    return mask


def box_of(placed: Placed) -> list[float]:
    """Return x0, y0, x1, y1 of the glyph's edges, in pixels of the scene."""
    shape = placed.cover >= _COVERED
    rows = np.flatnonzero(shape.any(1))
    columns = np.flatnonzero(shape.any(0))
    return [
        float(placed.left + columns[0]),
        float(placed.top + rows[0]),
        float(placed.left + columns[-1] + 1),
        float(placed.top + rows[-1] + 1),
    ]


def sample(values: Ints, x: Ints, y: Ints) -> Ints:
    """Return 256 times the bilinear values at (x, y), and 0 outside.

    x, y: fixed point; 0 is the centre of the first pixel.
    """
    height, width = values.shape
    right_end = (width - 1) * ONE
    lower_end = (height - 1) * ONE
    inside_x = (x >= 0) & (x < right_end)
    inside_y = (y >= 0) & (y < lower_end)
    inside = inside_x & inside_y
    x = np.where(inside, x, 0)
    y = np.where(inside, y, 0)
    # Weights of the right and the lower neighbour, 0..255.
    right = (x & (ONE - 1)) >> 8
    below = (y & (ONE - 1)) >> 8
    column = x >> 16
    row = y >> 16
    flat = values.ravel()
    corner = row * width + column
    upper = _blend(flat[corner], flat[corner + 1], right)
    corner += width
    lower = _blend(flat[corner], flat[corner + 1], right)
    mean = _blend(upper, lower, below) >> 8
    return np.where(inside, mean, 0)


def _blend(first: Ints, second: Ints, weight: Ints) -> Ints:
    """Return 256 times the weighted mean. weight: of the second, 0..256."""
    blended: Ints = first * (256 - weight) + second * weight
    return blended


def _dilated(shape: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the shape with every pixel above, below, left and right of it."""
    dilated = shape.copy()
    dilated[1:] |= shape[:-1]
    dilated[:-1] |= shape[1:]
    dilated[:, 1:] |= shape[:, :-1]
    dilated[:, :-1] |= shape[:, 1:]
    return dilated
