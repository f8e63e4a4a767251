"""One box about a thing: float32 of 4, xyxy = left, top, right, bottom, pixel edges of the image; a list in the column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

Box = NDArray[np.float32]
SLACK = 0.5
"""Pixels by which a box may reach beyond the image: what rounding does."""


def decode(value: Sequence[float]) -> Box:
    """4. Raises ImageFault where these are not four numbers."""
    try:
        box = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ImageFault(f"a box that is no list of numbers: {value!r}") from error
    if box.shape != (4,):
        raise ImageFault(f"a box of {box.size} numbers, not of 4")
    return box


def encode(box: Box) -> list[float]:
    return [float(edge) for edge in box]


def fault(box: Box, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """size: of the image."""
    text = "[" + ", ".join(f"{edge:g}" for edge in box.tolist()) + "]"
    left, top, right, bottom = box.tolist()
    if not np.isfinite(box).all():
        return f"a box with an edge that is no number: {text}"
    if right <= left or bottom <= top:
        return f"a box without area: {text} (left, top, right, bottom)"
    if left < -SLACK or top < -SLACK or right > size[1] + SLACK or bottom > size[0] + SLACK:
        return f"a box outside the image: {text} (left, top, right, bottom) in {size[1]}x{size[0]} pixels"
    return None
