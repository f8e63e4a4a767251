"""How far each pixel of the left view lies left in the right one: float32 HxW, x_left - x_right >= 0, pixels, NaN = unknown.

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
    """HxW. Raises ImageFault where this is no map of numbers."""
    disparity = arrays.read(data, "disparity")
    if disparity.ndim != 2:
        raise ImageFault(f"a disparity of {disparity.ndim} dimensions, not of 2")
    return disparity.astype(np.float32)


def encode(disparity: Map) -> bytes:
    """disparity: HxW."""
    return arrays.write("disparity", disparity.astype(np.float32))


def fault(disparity: Map, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """size: of the image."""
    if disparity.shape != size:
        return f"a disparity of {disparity.shape[1]}x{disparity.shape[0]} pixels for an image of {size[1]}x{size[0]}"
    known = disparity[~np.isnan(disparity)]
    if not known.size:
        return "a disparity without a known pixel"
    if count := np.count_nonzero(np.isinf(known)):
        return f"a disparity that is infinite at {count:,} pixels; NaN says that one is unknown"
    if known.min() < 0:
        return f"a negative disparity at {np.count_nonzero(known < 0):,} pixels, down to {known.min():g}; left and right may be exchanged"
    if known.max() > size[1]:
        return f"a disparity of {known.max():g} pixels in an image {size[1]} wide, at {np.count_nonzero(known > size[1]):,} pixels"
    return None
