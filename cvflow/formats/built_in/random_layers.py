"""Random layers of a scene: how each looks, lies and moves."""

from __future__ import annotations

import math

import numpy as np

from cvflow.formats.built_in.textured_layers import SHAPES, Floats, Layer, Pairs, Texture

CLOSER = 0.02
"""The most that the disparity of a slanted layer changes in a pixel, pixels."""


def random_layers(
    random: np.random.Generator, pairs: Pairs, size: tuple[int, int], glyphs: Floats, most: float
) -> list[Layer]:
    """Return the layers of a scene, the farthest first.

    size: height and width. glyphs: M x 8 x 8, 0..1. most: the greatest disparity, or the greatest
    shift along an axis, pixels.
    """
    height, width = size
    count = int(random.integers(3, 7))
    shares = np.sort(random.uniform(0.1, 1, count + 1))
    farthest, *nearer = shares * most
    ground_texture = _texture(random, glyphs)
    middle = (width / 2, height / 2)
    ground_motion = _motion(random, pairs, size, middle, float(farthest))
    layers = [Layer(ground_texture, ground_motion)]
    for shift in nearer:
        layer = _shaped_layer(random, pairs, size, glyphs, float(shift))
        layers.append(layer)
    return layers


def _shaped_layer(
    random: np.random.Generator, pairs: Pairs, size: tuple[int, int], glyphs: Floats, shift: float
) -> Layer:
    """Return a layer within a shape. shift: its disparity, or its shift along an axis, pixels."""
    height, width = size
    centre = tuple(random.uniform(0.1, 0.9, 2) * (width, height))
    radius = tuple(random.uniform(0.15, 0.45, 2) * min(size))
    forth = _motion(random, pairs, size, centre, shift)
    texture = _texture(random, glyphs)
    shape = str(random.choice(SHAPES))
    turn = random.uniform(0, math.pi)
    return Layer(
        texture=texture,
        forth=forth,
        shape=shape,
        centre=centre,
        radius=radius,
        turn=turn,
    )


def _texture(random: np.random.Generator, glyphs: Floats) -> Texture:
    coarse = random.uniform(0, 255, (9, 9, 3))
    fine = random.uniform(0, 255, (9, 9, 3))
    rows = int(random.integers(10, 15))
    columns = int(random.integers(10, 15))
    tile = np.zeros((rows, columns))
    number = int(random.integers(len(glyphs)))
    tile[1:9, 1:9] = glyphs[number]
    coarse_cell = random.uniform(6, 12)
    fine_cell = random.uniform(2.5, 4)
    ink = random.uniform(0, 255, 3)
    pen = random.uniform(1.5, 3)
    return Texture(
        coarse=coarse,
        fine=fine,
        cells=(coarse_cell, fine_cell),
        glyph=tile,
        ink=ink,
        pen=pen,
    )


def _motion(
    random: np.random.Generator,
    pairs: Pairs,
    size: tuple[int, int],
    centre: tuple[float, float],
    shift: float,
) -> Floats:
    """Return 2 x 3. Three layers in ten are moved by integer pixels and nothing else."""
    integer = random.random() < 0.3
    if pairs == "stereo":
        return _stereo_motion(random, size, centre, shift, integer)
    return _flow_motion(random, centre, shift, integer)


def _stereo_motion(
    random: np.random.Generator,
    size: tuple[int, int],
    centre: tuple[float, float],
    shift: float,
    integer: bool,
) -> Floats:
    if integer:
        slant = np.zeros(2)
        disparity = max(1.0, round(shift))
    else:
        steepest = min(CLOSER, 0.2 * shift / sum(size))
        slant = random.uniform(-1, 1, 2) * steepest
        disparity = shift
    # The layer has the disparity at its centre.
    offset = slant @ centre - disparity
    return np.array([[1 - slant[0], -slant[1], offset], [0, 1, 0]])


def _flow_motion(
    random: np.random.Generator, centre: tuple[float, float], shift: float, integer: bool
) -> Floats:
    angle = 0.0
    scale = 1.0
    if not integer:
        angle = random.uniform(-0.12, 0.12)
        scale = random.uniform(0.93, 1.08)
    direction = random.uniform(0, 2 * math.pi)
    unit = np.array([math.cos(direction), math.sin(direction)])
    offset = shift * unit
    if integer:
        offset = offset.round()
    cos = math.cos(angle)
    sin = math.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    linear = scale * rotation
    # The layer turns and grows about its centre.
    moved_centre = linear @ centre
    constant = centre + offset - moved_centre
    return np.column_stack([linear, constant])
