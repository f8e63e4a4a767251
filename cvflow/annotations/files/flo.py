"""Middlebury's .flo: the number 202021.25, width, height, then (u, v) of each pixel, all little-endian (Baker et al. 2011)."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

MAGIC = struct.pack("<f", 202021.25)  # the bytes "PIEH"
UNKNOWN, LEAST_UNKNOWN = 1e10, 1e9
"""What is written for an unknown vector; a component greater than the second is one, as in Middlebury's own reader."""


def read(data: bytes) -> NDArray[np.float32]:
    """HxWx2, pixels, NaN = unknown. Raises ImageFault."""
    if data[:4] != MAGIC:
        raise ImageFault(f"no .flo: it begins with {data[:4]!r}, not {MAGIC!r}")
    if len(data) < 12:
        raise ImageFault(f"a .flo cut in its header: {len(data)} bytes")
    width, height = struct.unpack("<ii", data[4:12])
    expected = 8 * width * height
    if width < 1 or height < 1 or len(data) - 12 < expected:
        raise ImageFault(f"a .flo of {width}x{height} with {len(data) - 12} bytes of vectors, not {expected}")
    flow = np.frombuffer(data, "<f4", 2 * width * height, 12).reshape(height, width, 2).astype(np.float32)
    flow[~(np.abs(flow) <= LEAST_UNKNOWN).all(axis=2)] = np.nan
    return flow


def write(flow: NDArray[np.floating]) -> bytes:
    """flow: HxWx2, NaN = unknown."""
    known = np.where(np.isnan(flow).any(axis=2, keepdims=True), UNKNOWN, flow)
    return MAGIC + struct.pack("<ii", flow.shape[1], flow.shape[0]) + known.astype("<f4").tobytes()
