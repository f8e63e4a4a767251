"""One box around an object: four float32, xyxy = left, top, right, bottom, in pixel edges of the image.

The column holds a list of four numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

Box = NDArray[np.float32]
SLACK = 0.5
"""Pixels by which a box may reach beyond the image, to allow for rounding."""


def decode(value: Sequence[float]) -> Box:
    """Return the box as an array of 4. Raises ImageFault if the value is not four numbers."""
    try:
        box = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ImageFault(f"a box that is no list of numbers: {value!r}") from error
    if box.shape != (4,):
        raise ImageFault(f"a box of {box.size} numbers, not of 4")
    return box


def encode(box: Box) -> list[float]:
    """Return the box as a list of four numbers."""
    edges: list[float] = box.tolist()
    return edges


def fault(box: Box, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """Return what is wrong with the box, or None. size: height and width of the image."""
    height, width = size
    left, top, right, bottom = box.tolist()
    text = f"[{left:g}, {top:g}, {right:g}, {bottom:g}]"
    if not np.isfinite(box).all():
        return f"a box with an edge that is no number: {text}"
    if right <= left or bottom <= top:
        return f"a box without area: {text} (left, top, right, bottom)"
    beyond_left_top = left < -SLACK or top < -SLACK
    beyond_right_bottom = right > width + SLACK or bottom > height + SLACK
    if beyond_left_top or beyond_right_bottom:
        return f"a box outside the image: {text} (left, top, right, bottom) in {width}x{height} pixels"
    return None
