"""Scenes composed from small grey glyphs, such as 8x8 digits: enlarged, turned, coloured, over textures and clutter.

Integers throughout, drawn from PCG64's raw stream (which NumPy keeps over its versions): the same pixels on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import Pixels
from cvflow.annotations.mask import Labels
from cvflow.ops.labels import VOID

Ints = NDArray[np.int64]
FULL = 16
"""The greatest value of a glyph's pixel."""
OVERLAP = 0.2
"""Share of a new glyph that may lie over others."""
CONTRAST = 70
"""Least difference of brightness between a glyph and the mean of what it lies on, of 255, if a few tries give it."""
_ONE = 1 << 16  # fixed point


class Draw:
    """Random integers, the same for the same key on any machine. key: whole numbers >= 0."""

    def __init__(self, *key: int) -> None:
        self._stream = np.random.PCG64(np.random.SeedSequence(key))

    def below(self, end: int) -> int:
        return int(self._stream.random_raw() % end)

    def between(self, least: int, greatest: int) -> int:
        """Either end included."""
        return least + self.below(greatest - least + 1)

    def colour(self) -> Ints:
        """RGB, 0..255."""
        return np.array([self.below(256) for _ in range(3)])

    def bytes(self, *shape: int) -> Ints:
        """0..255."""
        count = math.prod(shape)
        words = np.atleast_1d(self._stream.random_raw(-(-count // 8))).astype("<u8")
        return words.view(np.uint8)[:count].astype(np.int64).reshape(shape)


class Placed(NamedTuple):
    """number: of the glyph among those given. cover: S x S, 0..256, how much of each pixel it covers; at (top, left) of the scene."""

    number: int
    cover: Ints
    top: int
    left: int


def cover_of(glyph: Ints, side: int, draw: Draw, turn: int = 12, squeeze: int = 20) -> Ints:
    """side x side, 0..256: the glyph enlarged, turned by up to ``turn`` degrees, slanted, and narrowed by up to ``squeeze`` percent."""
    angle = math.radians(draw.between(-turn, turn))
    slant, narrow = draw.between(-20, 20) / 100, 100 / (100 - draw.between(0, squeeze))
    across, down = 1.1 * glyph.shape[1] / side, 1.1 * glyph.shape[0] / side  # room at the corners
    matrix = [
        round(_ONE * value)
        for value in (
            across * narrow * (math.cos(angle) + slant * math.sin(angle)),
            across * narrow * (math.sin(angle) - slant * math.cos(angle)),
            -down * math.sin(angle),
            down * math.cos(angle),
        )
    ]
    steps = 2 * np.arange(side, dtype=np.int64) + 1 - side  # pixel centres, in half pixels from the middle
    rows, columns = steps[:, None], steps[None, :]
    x = (matrix[0] * columns + matrix[1] * rows) // 2 + (glyph.shape[1] - 1) * _ONE // 2
    y = (matrix[2] * columns + matrix[3] * rows) // 2 + (glyph.shape[0] - 1) * _ONE // 2
    value = _sample(np.pad(glyph, 1), x + _ONE, y + _ONE)
    return np.clip((value - 5 * 256) // 4, 0, 256)  # from 5 of 16 to 9 of 16: a soft edge


def place(glyphs: Sequence[Ints], size: int, draw: Draw, wanted: int, least: int, most: int) -> list[Placed]:
    """Up to ``wanted`` of the glyphs within a scene of size x size, with hardly an overlap. least, most: their sides in pixels."""
    found: list[Placed] = []
    taken = np.zeros((size, size), dtype=bool)
    for _ in range(3 * wanted):
        if len(found) == wanted:
            break
        number, side = draw.below(len(glyphs)), draw.between(least, most)
        cover = cover_of(glyphs[number], side, draw)
        top, left = draw.between(0, size - side), draw.between(0, size - side)
        shape, there = cover >= 128, taken[top : top + side, left : left + side]
        if (shape & there).sum() <= OVERLAP * shape.sum():
            found.append(Placed(number, cover, top, left))
            there |= shape
    return found


def mask_of(placed: Iterable[Placed], values: Sequence[int], size: int) -> Labels:
    """size x size of 0 and of ``values[number]`` where a glyph is; VOID where one has its border on another."""
    mask = np.zeros((size, size), dtype=np.uint8)
    for number, cover, top, left in placed:
        side = len(cover)
        there = mask[top : top + side, left : left + side]
        shape = cover >= 128
        there[_grown(shape) & ~shape & (there > 0)] = VOID
        there[shape] = values[number]
    return mask


def box_of(placed: Placed) -> list[float]:
    """x0, y0, x1, y1 of the glyph's edges, in pixels of the scene."""
    shape = placed.cover >= 128
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    x, y = placed.left, placed.top
    return [float(x + columns[0]), float(y + rows[0]), float(x + columns[-1] + 1), float(y + rows[-1] + 1)]


def picture_of(placed: Iterable[Placed], torn: Sequence[Ints], clutter: int, size: int, draw: Draw) -> Pixels:
    """size x size x 3: a textured ground, up to ``clutter`` strokes and torn glyphs, then the placed ones, then noise."""
    canvas = _ground(size, draw)
    for _ in range(draw.between(clutter // 2, clutter)):
        _litter(canvas, torn, draw)
    for _, cover, top, left in placed:
        _paint(canvas, cover, top, left, draw)
    amplitude = draw.between(4, 40)
    noise = draw.bytes(size, size, 3) - draw.bytes(size, size, 3)
    return np.clip(canvas + noise * amplitude // 256, 0, 255).astype(np.uint8)


def _sample(values: Ints, x: Ints, y: Ints) -> Ints:
    """256 times the values between the pixels (bilinear); x, y: fixed point, 0 = the first pixel's centre; 0 outside."""
    height, width = values.shape
    inside = (x >= 0) & (y >= 0) & (x < (width - 1) * _ONE) & (y < (height - 1) * _ONE)
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    column, row, right, below = x >> 16, y >> 16, (x & (_ONE - 1)) >> 8, (y & (_ONE - 1)) >> 8
    flat, at = values.ravel(), row * width + column
    upper = flat[at] * (256 - right) + flat[at + 1] * right
    lower = flat[at + width] * (256 - right) + flat[at + width + 1] * right
    return np.where(inside, (upper * (256 - below) + lower * below) >> 8, 0)


def _grown(shape: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grown = shape.copy()
    grown[1:] |= shape[:-1]
    grown[:-1] |= shape[1:]
    grown[:, 1:] |= shape[:, :-1]
    grown[:, :-1] |= shape[:, 1:]
    return grown


def _ground(size: int, draw: Draw) -> Ints:
    """Two colours blended by blotches, with stripes over some."""
    cells = draw.between(2, 6)
    steps = np.arange(size, dtype=np.int64) * cells * _ONE // size
    blotches = _sample(draw.bytes(cells + 2, cells + 2), steps[None, :], steps[:, None])[..., None] >> 8
    first = draw.colour()
    second = np.clip(first + draw.bytes(3) // 2 - 64, 0, 255)
    across, down, period = draw.between(-3, 3), draw.between(-3, 3), draw.between(8, 30)
    steps = np.arange(size, dtype=np.int64)
    stripes = (across * steps[None, :] + down * steps[:, None]) // period % 2
    ground: Ints = (first * (255 - blotches) + second * blotches) // 255 + (draw.between(-24, 24) * stripes)[
        ..., None
    ]
    return ground


def _litter(canvas: Ints, glyphs: Sequence[Ints], draw: Draw) -> None:
    """A stroke, or a glyph torn into quarters that are put together wrongly; it may reach out of the scene."""
    size = len(canvas)
    if draw.below(2):
        piece = np.zeros((8, 8), dtype=np.int64)
        piece[3 : 3 + draw.between(1, 2)] = FULL
        turn = 90
    else:
        whole, half = glyphs[draw.below(len(glyphs))], len(glyphs[0]) // 2
        piece, turn = np.roll(whole, (half * draw.below(2), half), (0, 1)), 12
    side = draw.between(size // 6, size // 2)
    cover = cover_of(piece, side, draw, turn)
    _paint(
        canvas,
        cover,
        draw.between(-side // 2, size - side // 2),
        draw.between(-side // 2, size - side // 2),
        draw,
    )


def _paint(canvas: Ints, cover: Ints, top: int, left: int, draw: Draw) -> None:
    """In a colour that differs from what is below; what reaches out of the canvas is cut off."""
    size, side = len(canvas), len(cover)
    cover = cover[max(0, -top) : size - top, max(0, -left) : size - left, None]
    there = canvas[max(0, top) : top + side, max(0, left) : left + side]
    if not cover.size:
        return
    below = there.sum() // (there.size // 3)
    colours = [draw.colour() for _ in range(6)]
    chosen = next((c for c in colours if abs(int(c.sum()) - below) >= 3 * CONTRAST), colours[0])
    there[:] = (there * (256 - cover) + chosen * cover) >> 8
