"""Middlebury's .flo (Baker et al. 2011).

The number 202021.25, width, height, then (u, v) of each pixel, all little-endian.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

MAGIC = struct.pack("<f", 202021.25)  # the bytes "PIEH"
HEADER_BYTES = 12
UNKNOWN = 1e10
"""What is written for an unknown vector."""
LEAST_UNKNOWN = 1e9
"""A vector with a greater component is unknown, as in Middlebury's own reader."""


def read(data: bytes) -> NDArray[np.float32]:
    """Return the flow, HxWx2, in pixels, NaN = unknown. Raises ImageFault."""
    if data[:4] != MAGIC:
        raise ImageFault(f"no .flo: it begins with {data[:4]!r}, not {MAGIC!r}")
    if len(data) < HEADER_BYTES:
        raise ImageFault(f"a .flo cut in its header: {len(data)} bytes")
    width, height = struct.unpack("<ii", data[4:HEADER_BYTES])
    body = len(data) - HEADER_BYTES
    expected = 8 * width * height
    if width < 1 or height < 1 or body < expected:
        raise ImageFault(f"a .flo of {width}x{height} with {body} bytes of vectors, not {expected}")
    numbers = np.frombuffer(data, "<f4", 2 * width * height, HEADER_BYTES)
    flow = numbers.reshape(height, width, 2).astype(np.float32)
    # A comparison with NaN is False, so vectors that hold one count as unknown too.
    valid = (np.abs(flow) <= LEAST_UNKNOWN).all(axis=2)
    flow[~valid] = np.nan
    return flow


def write(flow: NDArray[np.floating]) -> bytes:
    """Return the bytes of a .flo. flow: HxWx2, NaN = unknown."""
    height, width = flow.shape[:2]
    unknown = np.isnan(flow).any(axis=2, keepdims=True)
    vectors = np.where(unknown, UNKNOWN, flow)
    size = struct.pack("<ii", width, height)
    return MAGIC + size + vectors.astype("<f4").tobytes()
