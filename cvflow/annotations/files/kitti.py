"""KITTI's 16-bit PNGs (Geiger et al. 2012; Menze and Geiger 2015): disparity in 1/256 px, flow in 1/64 px about 2^15."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.files import png16
from cvflow.annotations.image import ImageFault

DISPARITY_STEPS, FLOW_STEPS, FLOW_ZERO = 256, 64, 2**15


def read_disparity(data: bytes) -> NDArray[np.float32]:
    """HxW, pixels, NaN where the file has 0. Raises ImageFault."""
    pixels = _channels(data, 1)[..., 0]
    disparity = pixels.astype(np.float32) / np.float32(DISPARITY_STEPS)
    disparity[pixels == 0] = np.nan
    return disparity


def write_disparity(disparity: NDArray[np.floating]) -> bytes:
    """Rounded to 1/256 px; what is known lies within 1/256 and 255.996 px after that."""
    steps = np.clip(np.rint(np.nan_to_num(disparity) * DISPARITY_STEPS), 1, 65535)
    return png16.write(np.where(np.isnan(disparity), 0, steps).astype(np.uint16))


def read_flow(data: bytes) -> NDArray[np.float32]:
    """HxWx2, pixels, NaN where the third channel is 0. Raises ImageFault."""
    pixels = _channels(data, 3)
    flow = (pixels[..., :2].astype(np.float32) - np.float32(FLOW_ZERO)) / np.float32(FLOW_STEPS)
    flow[pixels[..., 2] == 0] = np.nan
    return flow


def write_flow(flow: NDArray[np.floating]) -> bytes:
    """Rounded to 1/64 px; what is known lies within -512 and 511.98 px after that."""
    known = ~np.isnan(flow).any(axis=2)
    steps = np.clip(np.rint(np.nan_to_num(flow) * FLOW_STEPS) + FLOW_ZERO, 0, 65535)
    return png16.write(np.dstack([np.where(known[..., None], steps, 0), known]).astype(np.uint16))


def _channels(data: bytes, expected: int) -> NDArray[np.uint16]:
    pixels = png16.read(data)
    if pixels.shape[2] != expected:
        raise ImageFault(f"a PNG of {pixels.shape[2]} channels, expected {expected}")
    return pixels
