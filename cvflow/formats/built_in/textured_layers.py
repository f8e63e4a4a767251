"""Two views of textured layers before each other, known at any place, between pixels too: so disparity, flow and occlusion are exact.

A layer is defined where the first view has it; ``forth`` takes its points to the second. Points: N x 2, (x, y), pixel centres at
whole numbers. Shapes: N points, H W pixels.
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
CLOSER = 0.02
"""A slanted layer's disparity changes by at most so many pixels a pixel."""


@dataclass(frozen=True)
class Texture:
    """Colours 0..255 that go on for ever, without a jump: two grids of random colours, a coarse and a fine one, and a digit over them.

    coarse, fine: K x K x 3. cells: pixels a cell of each. glyph: 8x8, 0..1, repeated with a margin; ink: its colour; pen: pixels a cell.
    """

    coarse: Floats
    fine: Floats
    cells: tuple[float, float]
    glyph: Floats
    ink: Floats
    pen: float

    def __call__(self, points: Floats) -> Floats:
        ground = 0.6 * between(self.coarse, points / self.cells[0]) + 0.4 * between(
            self.fine, points / self.cells[1]
        )
        weight = between(self.glyph[..., None], points / self.pen)
        return ground * (1 - weight) + self.ink * weight


@dataclass(frozen=True)
class Layer:
    """shape: None = everywhere. centre, radius: pixels of the first view; turn: radians. forth: 2 x 3, affine."""

    texture: Texture
    forth: Floats
    shape: str | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    radius: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0

    def covers(self, points: Floats) -> NDArray[np.bool_]:
        """N, whether a point of the first view lies on it."""
        if self.shape is None:
            return np.ones(len(points), dtype=bool)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        x, y = np.abs(((points - self.centre) @ np.array([[cos, -sin], [sin, cos]])) / self.radius).T
        far = {"ellipse": np.hypot(x, y), "ring": np.hypot(x, y), "box": np.maximum(x, y), "diamond": x + y}[
            self.shape
        ]
        covered: NDArray[np.bool_] = (far < 1) & (far > (0.5 if self.shape == "ring" else -1))
        return covered

    def moved(self, points: Floats) -> Floats:
        """Points of the first view, in the second."""
        return points @ self.forth[:, :2].T + self.forth[:, 2]

    def back(self, points: Floats) -> Floats:
        """Points of the second view, in the first."""
        return (points - self.forth[:, 2]) @ np.linalg.inv(self.forth[:, :2]).T


class Views(NamedTuple):
    """first, second: HxWx3 uint8. forth: HxWx2, from each pixel of the first to its place in the second; back: the other way.

    seen, seen_back: HxW, whether that place is in the frame and not hidden.
    """

    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    forth: Floats
    back: Floats
    seen: NDArray[np.bool_]
    seen_back: NDArray[np.bool_]


def render(layers: Sequence[Layer], size: tuple[int, int]) -> Views:
    """layers: from the farthest to the nearest. size: height and width."""
    height, width = size
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2).astype(np.float64)
    top, top_second = front(layers, points), front(layers, points, second=True)
    to, origin = along(layers, top, points), along(layers, top_second, points, second=True)
    seen = (front(layers, to, second=True) == top) & in_frame(to, size)
    seen_back = (front(layers, origin) == top_second) & in_frame(origin, size)
    images = [
        painted(layers, tops, at).reshape(*size, 3) for tops, at in ((top, points), (top_second, origin))
    ]
    offsets = [(ends - points).reshape(*size, 2) for ends in (to, origin)]
    return Views(images[0], images[1], offsets[0], offsets[1], seen.reshape(size), seen_back.reshape(size))


def front(layers: Sequence[Layer], points: Floats, second: bool = False) -> Ints:
    """N, the nearest layer at each point of the first view or of the second."""
    top = np.zeros(len(points), dtype=np.int64)
    for number, layer in enumerate(layers):
        top[layer.covers(layer.back(points) if second else points)] = number
    return top


def along(layers: Sequence[Layer], top: Ints, points: Floats, second: bool = False) -> Floats:
    """N x 2, where each point goes with its layer: from the first view to the second, or from the second back."""
    ends = np.empty_like(points)
    for number, layer in enumerate(layers):
        own = top == number
        ends[own] = layer.back(points[own]) if second else layer.moved(points[own])
    return ends


def painted(layers: Sequence[Layer], top: Ints, points: Floats) -> NDArray[np.uint8]:
    """N x 3: the colours of layers at points of the first view."""
    colours = np.empty((len(points), 3))
    for number, layer in enumerate(layers):
        own = top == number
        colours[own] = layer.texture(points[own])
    return colours.round().clip(0, 255).astype(np.uint8)


def in_frame(points: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(((points >= 0) & (points <= (size[1] - 1, size[0] - 1))).all(axis=1))


def between(grid_KLC: Floats, places: Floats) -> Floats:
    """Bilinear, the grid repeated for ever. places: (x, y) in cells."""
    rows, columns = grid_KLC.shape[:2]
    low = np.floor(places)
    (across, down), (x, y) = (places - low).T[..., None], low.astype(np.int64).T
    left, right, top, bottom = x % columns, (x + 1) % columns, y % rows, (y + 1) % rows
    above = grid_KLC[top, left] * (1 - across) + grid_KLC[top, right] * across
    below = grid_KLC[bottom, left] * (1 - across) + grid_KLC[bottom, right] * across
    mean: Floats = above * (1 - down) + below * down
    return mean


def drawn(
    random: np.random.Generator, pairs: Pairs, size: tuple[int, int], glyphs: Floats, most: float
) -> list[Layer]:
    """A scene. glyphs: M x 8 x 8, 0..1. most: the greatest disparity, or the greatest shift along an axis, pixels."""
    count = int(random.integers(3, 7))
    farthest, *depths = np.sort(random.uniform(0.1, 1, count + 1)) * most
    layers = [
        Layer(
            texture(random, glyphs), motion(random, pairs, size, (size[1] / 2, size[0] / 2), float(farthest))
        )
    ]
    for depth in depths:
        centre = tuple(random.uniform(0.1, 0.9, 2) * size[::-1])
        radius = tuple(random.uniform(0.15, 0.45, 2) * min(size))
        forth = motion(random, pairs, size, centre, float(depth))
        layers.append(
            Layer(
                texture(random, glyphs),
                forth,
                str(random.choice(SHAPES)),
                centre,
                radius,
                random.uniform(0, math.pi),
            )
        )
    return layers


def motion(
    random: np.random.Generator,
    pairs: Pairs,
    size: tuple[int, int],
    centre: tuple[float, float],
    shift: float,
) -> Floats:
    """2 x 3. Of three layers in ten it is a shift by whole pixels."""
    whole = random.random() < 0.3
    if pairs == "stereo":
        slant = np.zeros(2) if whole else random.uniform(-1, 1, 2) * min(CLOSER, 0.2 * shift / sum(size))
        disparity = max(1.0, round(shift)) if whole else shift
        return np.array([[1 - slant[0], -slant[1], slant @ centre - disparity], [0, 1, 0]])
    angle, scale = (0.0, 1.0) if whole else (random.uniform(-0.12, 0.12), random.uniform(0.93, 1.08))
    way = random.uniform(0, 2 * math.pi)
    to = shift * np.array([math.cos(way), math.sin(way)])
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([linear, centre + (to.round() if whole else to) - linear @ centre])


def texture(random: np.random.Generator, glyphs: Floats) -> Texture:
    coarse, fine = (random.uniform(0, 255, (9, 9, 3)) for _ in range(2))
    tile = np.zeros((int(random.integers(10, 15)), int(random.integers(10, 15))))
    tile[1:9, 1:9] = glyphs[int(random.integers(len(glyphs)))]
    cells = (random.uniform(6, 12), random.uniform(2.5, 4))
    return Texture(coarse, fine, cells, tile, random.uniform(0, 255, 3), random.uniform(1.5, 3))
