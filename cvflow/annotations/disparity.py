"""How far each pixel of the left view has moved left in the right view.

float32 HxW, x_left - x_right >= 0, in pixels, NaN = unknown.
Encoded as an .npz with one array, ``disparity``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.files import arrays
from cvflow.annotations.image import ImageFault

Map = NDArray[np.float32]


def decode(data: bytes) -> Map:
    """Return the disparity, HxW. Raises ImageFault if the data is not a map of numbers."""
    disparity = arrays.read(data, "disparity")
    if disparity.ndim != 2:
        raise ImageFault(f"a disparity of {disparity.ndim} dimensions, not of 2")
    return disparity.astype(np.float32)


def encode(disparity: Map) -> bytes:
    """Return the bytes of an .npz. disparity: HxW."""
    values = disparity.astype(np.float32)
    return arrays.write("disparity", values)


def fault(disparity: Map, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """Return what is wrong with the disparity, or None. size: height and width of the image."""
    height, width = size
    if disparity.shape != size:
        map_height, map_width = disparity.shape
        return f"a disparity of {map_width}x{map_height} pixels for an image of {width}x{height}"
    unknown = np.isnan(disparity)
    valid = disparity[~unknown]
    if not valid.size:
        return "a disparity without a known pixel"
    infinite = np.count_nonzero(np.isinf(valid))
    if infinite:
        return f"a disparity that is infinite at {infinite:,} pixels; NaN says that one is unknown"
    return _range_fault(valid, width)


def _range_fault(valid: Map, width: int) -> str | None:
    """Return what is wrong with the range of the known disparities, or None."""
    least = valid.min()
    if least < 0:
        negative = np.count_nonzero(valid < 0)
        return (
            f"a negative disparity at {negative:,} pixels, down to {least:g}; left and right may be exchanged"
        )
    greatest = valid.max()
    if greatest > width:
        # A pixel cannot move by more than the width and still be in the other view.
        too_far = np.count_nonzero(valid > width)
        return f"a disparity of {greatest:g} pixels in an image {width} wide, at {too_far:,} pixels"
    return None
