"""Where each pixel of the first image has moved to in the second.

float32 HxWx2, u to the right and v down, in pixels, NaN = unknown.
Encoded as an .npz with one array, ``flow``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.files import arrays
from cvflow.annotations.image import ImageFault

Map = NDArray[np.float32]
MOST_FAR = 0.01
"""The share of vectors that may be longer than the image's diagonal.

In rendered scenes some objects leave the image that fast; a larger share means another unit.
"""


def decode(data: bytes) -> Map:
    """Return the flow, HxWx2. Raises ImageFault if the data is not a map of vectors."""
    flow = arrays.read(data, "flow")
    if flow.ndim != 3 or flow.shape[2] != 2:
        numbers = map(str, flow.shape)
        shape = "x".join(numbers)
        raise ImageFault(f"a flow of {shape} numbers, not of HxWx2")
    return flow.astype(np.float32)


def encode(flow: Map) -> bytes:
    """Return the bytes of an .npz. flow: HxWx2."""
    values = flow.astype(np.float32)
    return arrays.write("flow", values)


def fault(flow: Map, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """Return what is wrong with the flow, or None. size: height and width of the image."""
    height, width = size
    map_height, map_width = flow.shape[:2]
    if (map_height, map_width) != size:
        return f"a flow of {map_width}x{map_height} pixels for an image of {width}x{height}"
    unknown = np.isnan(flow)
    unknown_u, unknown_v = unknown[..., 0], unknown[..., 1]
    half_known = np.count_nonzero(unknown_u != unknown_v)
    if half_known:
        return f"a flow with one of its two components at {half_known:,} pixels"
    vectors_N2 = flow[~unknown.any(axis=2)]
    if not len(vectors_N2):
        return "a flow without a known pixel"
    infinite_N = np.isinf(vectors_N2).any(axis=1)
    infinite = np.count_nonzero(infinite_N)
    if infinite:
        return f"a flow that is infinite at {infinite:,} pixels; NaN says that one is unknown"
    return _length_fault(vectors_N2, diagonal=math.hypot(*size))


def _length_fault(vectors_N2: Map, diagonal: float) -> str | None:
    """Return what is wrong with the lengths of the known vectors, or None."""
    # float64, because the length of a vector of large float32 numbers can overflow.
    u, v = vectors_N2.astype(np.float64).T
    lengths = np.hypot(u, v)
    far = float(np.mean(lengths > diagonal))
    if far <= MOST_FAR:
        return None
    return (
        f"a flow of up to {lengths.max():g} pixels, "
        f"longer than the image's diagonal of {diagonal:.0f} at {far:.1%} of the pixels"
    )
