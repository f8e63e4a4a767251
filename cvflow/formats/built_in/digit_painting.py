"""Pictures of placed glyphs: coloured, over textures and clutter, under noise.

Integers throughout, so the pixels are the same on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cvflow.annotations.image import Pixels
from cvflow.formats.built_in.glyph_layout import ONE, Placed, cover_of, sample
from cvflow.formats.built_in.integer_stream import Draw, Ints

FULL = 16
"""The greatest value of a glyph's pixel."""
CONTRAST = 70
"""Least difference in brightness, of 255, between a glyph and what it lies on, if a few tries give it."""
_TRIES = 6


def picture_of(placed: Iterable[Placed], torn: Sequence[Ints], clutter: int, size: int, draw: Draw) -> Pixels:
    """Return size x size x 3: a textured ground, clutter, then the placed glyphs, then noise.

    clutter: the most strokes and torn glyphs. torn: the glyphs that clutter is made of.
    """
    canvas = _ground(size, draw)
    for _ in range(draw.between(clutter // 2, clutter)):
        _add_clutter(canvas, torn, draw)
    for _, cover, top, left in placed:
        _paint(canvas, cover, top, left, draw)
    amplitude = draw.between(4, 40)
    noise = draw.bytes(size, size, 3) - draw.bytes(size, size, 3)
    noisy = canvas + noise * amplitude // 256
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _ground(size: int, draw: Draw) -> Ints:
    """Return size x size x 3: two colours blended by blotches, with stripes."""
    blotches = _blotches(size, draw)[..., None]
    first = draw.colour()
    change = draw.bytes(3) // 2 - 64
    second = np.clip(first + change, 0, 255)
    stripes = _stripes(size, draw)[..., None]
    brightness = draw.between(-24, 24)
    blend: Ints = (first * (255 - blotches) + second * blotches) // 255
    return blend + brightness * stripes


def _blotches(size: int, draw: Draw) -> Ints:
    """Return size x size, 0..255: a coarse random grid, enlarged."""
    cells = draw.between(2, 6)
    grid = draw.bytes(cells + 2, cells + 2)
    pixels = np.arange(size, dtype=np.int64)
    steps = pixels * cells * ONE // size
    x = steps[None, :]
    y = steps[:, None]
    return sample(grid, x, y) >> 8


def _stripes(size: int, draw: Draw) -> Ints:
    """Return size x size of 0 and 1, in stripes of a random direction and width."""
    across = draw.between(-3, 3)
    down = draw.between(-3, 3)
    period = draw.between(8, 30)
    steps = np.arange(size, dtype=np.int64)
    x = steps[None, :]
    y = steps[:, None]
    distance = across * x + down * y
    return distance // period % 2


def _add_clutter(canvas: Ints, glyphs: Sequence[Ints], draw: Draw) -> None:
    """Paint a stroke or a torn glyph, which may reach out of the scene."""
    size = len(canvas)
    if draw.below(2):
        piece = _stroke(draw)
        turn = 90
    else:
        piece = _torn(glyphs, draw)
        turn = 12
    side = draw.between(size // 6, size // 2)
    cover = cover_of(piece, side, draw, turn)
    # At most about half of it reaches out.
    least = -side // 2
    greatest = size - side // 2
    top = draw.between(least, greatest)
    left = draw.between(least, greatest)
    _paint(canvas, cover, top, left, draw)


def _stroke(draw: Draw) -> Ints:
    """Return a glyph of 8x8 with a bar of one or two pixels across."""
    piece = np.zeros((8, 8), dtype=np.int64)
    thickness = draw.between(1, 2)
    piece[3 : 3 + thickness] = FULL
    return piece


def _torn(glyphs: Sequence[Ints], draw: Draw) -> Ints:
    """Return a glyph whose halves or quarters have changed places, so that it is no digit."""
    number = draw.below(len(glyphs))
    glyph = glyphs[number]
    half = len(glyph) // 2
    down = half * draw.below(2)
    return np.roll(glyph, (down, half), (0, 1))


def _paint(canvas: Ints, cover: Ints, top: int, left: int, draw: Draw) -> None:
    """Paint a glyph in a colour that differs from what it lies on; cut off what leaves the canvas."""
    size = len(canvas)
    side = len(cover)
    rows = slice(max(0, top), top + side)
    columns = slice(max(0, left), left + side)
    region = canvas[rows, columns]
    # The part of the glyph that lies on the canvas.
    rows = slice(max(0, -top), size - top)
    columns = slice(max(0, -left), size - left)
    cover = cover[rows, columns, None]
    if not cover.size:
        return
    colour = _contrasting_colour(region, draw)
    blend = region * (256 - cover) + colour * cover
    region[:] = blend >> 8


def _contrasting_colour(region: Ints, draw: Draw) -> Ints:
    """Return the first of a few random colours that stands out from the region, else the first."""
    pixels = region.size // 3
    brightness = region.sum() // pixels
    # All are drawn, so that the draws after them do not depend on the region.
    colours = [draw.colour() for _ in range(_TRIES)]
    for colour in colours:
        difference = abs(int(colour.sum()) - brightness)
        if difference >= 3 * CONTRAST:
            return colour
    return colours[0]
