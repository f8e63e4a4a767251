"""Two views of textured layers in front of each other, with exact disparity, flow and occlusion.

Layers are defined at any point, between pixels too. A layer lies where the first view has it;
``forth`` takes its points to the second view. Points: N x 2, (x, y), pixel centres at integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pairs = Literal["stereo", "flow"]
SHAPES = ("ellipse", "box", "diamond", "ring")


@dataclass(frozen=True)
class Texture:
    """Colours 0..255 that repeat without a jump: two grids of random colours and a digit over them.

    coarse, fine: K x K x 3. cells: pixels a cell of each grid. glyph: 8x8 with a margin, 0..1, repeated.
    ink: its colour. pen: pixels a cell of the glyph.
    """

    coarse: Floats
    fine: Floats
    cells: tuple[float, float]
    glyph: Floats
    ink: Floats
    pen: float

    def __call__(self, points: Floats) -> Floats:
        """Return N x 3, the colours at the points."""
        coarse_cell, fine_cell = self.cells
        coarse = bilinear(self.coarse, points / coarse_cell)
        fine = bilinear(self.fine, points / fine_cell)
        ground = 0.6 * coarse + 0.4 * fine
        glyph_KL1 = self.glyph[..., None]
        weight = bilinear(glyph_KL1, points / self.pen)
        return ground * (1 - weight) + self.ink * weight


@dataclass(frozen=True)
class Layer:
    """A texture within a shape, and its motion.

    shape: None = everywhere. centre, radius: pixels of the first view; turn: radians.
    forth: 2 x 3, affine, from the first view to the second.
    """

    texture: Texture
    forth: Floats
    shape: str | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    radius: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0

    def covers(self, points: Floats) -> NDArray[np.bool_]:
        """Return N booleans: whether each point of the first view lies on the layer."""
        if self.shape is None:
            return np.ones(len(points), dtype=bool)
        distance = self._distance(points)
        inside = distance < 1
        if self.shape == "ring":
            inside &= distance > 0.5
        return inside

    def _distance(self, points: Floats) -> Floats:
        """Return N distances from the centre, 1 on the outer border of the shape."""
        cos = math.cos(self.turn)
        sin = math.sin(self.turn)
        rotation = np.array([[cos, -sin], [sin, cos]])
        turned = (points - self.centre) @ rotation
        scaled = np.abs(turned / self.radius)
        x, y = scaled.T
        if self.shape == "box":
            return np.asarray(np.maximum(x, y))
        if self.shape == "diamond":
            return np.asarray(x + y)
        return np.asarray(np.hypot(x, y))

    def moved(self, points: Floats) -> Floats:
        """Return where points of the first view are in the second."""
        linear = self.forth[:, :2]
        shift = self.forth[:, 2]
        return points @ linear.T + shift

    def back(self, points: Floats) -> Floats:
        """Return where points of the second view are in the first."""
        linear = self.forth[:, :2]
        shift = self.forth[:, 2]
        inverse = np.linalg.inv(linear)
        return (points - shift) @ inverse.T


class Views(NamedTuple):
    """Two views of a scene and how their pixels correspond.

    first, second: HxWx3 uint8. forth: HxWx2, the offset from each pixel of the first view to its place
    in the second. back: the offset from the second view to the first. seen, seen_back: HxW, whether
    that place is in the frame and not hidden.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    forth: Floats
    back: Floats
    seen: NDArray[np.bool_]
    seen_back: NDArray[np.bool_]


def render(layers: Sequence[Layer], size: tuple[int, int]) -> Views:
    """Return both views of the layers, which are sorted from the farthest to the nearest.

    size: height and width.
    """
    pixels = _pixel_centres(size)

    top = nearest(layers, pixels)
    target = follow(layers, top, pixels)
    visible = nearest(layers, target, second=True) == top
    seen = visible & in_frame(target, size)

    top_second = nearest(layers, pixels, second=True)
    origin = follow(layers, top_second, pixels, second=True)
    visible_back = nearest(layers, origin) == top_second
    seen_back = visible_back & in_frame(origin, size)

    # A texture lies in the first view, so a pixel of the second has the colour of its origin.
    first = colours_at(layers, top, pixels)
    second = colours_at(layers, top_second, origin)
    forth = target - pixels
    back = origin - pixels
    return Views(
        first=first.reshape(*size, 3),
        second=second.reshape(*size, 3),
        forth=forth.reshape(*size, 2),
        back=back.reshape(*size, 2),
        seen=seen.reshape(size),
        seen_back=seen_back.reshape(size),
    )


def _pixel_centres(size: tuple[int, int]) -> Floats:
    """Return HW x 2, row by row."""
    height, width = size
    columns = np.arange(width)
    rows = np.arange(height)
    grid = np.meshgrid(columns, rows)
    points = np.stack(grid, axis=-1).reshape(-1, 2)
    return points.astype(np.float64)


def nearest(layers: Sequence[Layer], points: Floats, second: bool = False) -> Ints:
    """Return N, the index of the nearest layer at each point. second: points of the second view."""
    top = np.zeros(len(points), dtype=np.int64)
    for number, layer in enumerate(layers):
        in_first = layer.back(points) if second else points
        covered = layer.covers(in_first)
        top[covered] = number
    return top


def follow(layers: Sequence[Layer], top: Ints, points: Floats, second: bool = False) -> Floats:
    """Return N x 2, where each point goes with its layer ``top``: into the other view.

    second: the points are of the second view and go back to the first.
    """
    ends = np.empty_like(points)
    for number, layer in enumerate(layers):
        on_layer = top == number
        starts = points[on_layer]
        ends[on_layer] = layer.back(starts) if second else layer.moved(starts)
    return ends


def colours_at(layers: Sequence[Layer], top: Ints, points: Floats) -> NDArray[np.uint8]:
    """Return N x 3, the colours of the layers ``top`` at points of the first view."""
    colours = np.empty((len(points), 3))
    for number, layer in enumerate(layers):
        on_layer = top == number
        local = points[on_layer]
        colours[on_layer] = layer.texture(local)
    rounded = colours.round()
    clipped = rounded.clip(0, 255)
    return clipped.astype(np.uint8)


def in_frame(points: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return N booleans: whether each point lies in an image of height and width ``size``."""
    height, width = size
    greatest = (width - 1, height - 1)
    inside = (points >= 0) & (points <= greatest)
    return np.asarray(inside.all(axis=1))


def bilinear(grid_KLC: Floats, places: Floats) -> Floats:
    """Return N x C, the grid, repeated for ever, interpolated. places: (x, y) in cells."""
    low = np.floor(places)
    # Weights of the right and the lower neighbour, N x 1 each.
    across, down = (places - low).T[..., None]
    rows, columns = grid_KLC.shape[:2]
    x, y = low.astype(np.int64).T
    left = x % columns
    right = (x + 1) % columns
    top = y % rows
    bottom = (y + 1) % rows
    above = _blend(grid_KLC[top, left], grid_KLC[top, right], across)
    below = _blend(grid_KLC[bottom, left], grid_KLC[bottom, right], across)
    return _blend(above, below, down)


def _blend(first: Floats, second: Floats, weight: Floats) -> Floats:
    blended: Floats = first * (1 - weight) + second * weight
    return blended
