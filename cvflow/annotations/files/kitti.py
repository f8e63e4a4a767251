"""KITTI's 16-bit PNGs: disparity in 1/256 px, flow in 1/64 px around 2^15.

Geiger et al. 2012; Menze and Geiger 2015.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.files import png16
from cvflow.annotations.image import ImageFault

DISPARITY_STEPS = 256
FLOW_STEPS = 64
FLOW_ZERO = 2**15
"""The value that stands for a flow of 0."""


def read_disparity(data: bytes) -> NDArray[np.float32]:
    """Return the disparity, HxW, in pixels, NaN where the file has 0. Raises ImageFault."""
    steps = _channels(data, 1)[..., 0]
    unknown = steps == 0
    disparity = steps.astype(np.float32) / np.float32(DISPARITY_STEPS)
    disparity[unknown] = np.nan
    return disparity


def write_disparity(disparity: NDArray[np.floating]) -> bytes:
    """Return the bytes of a PNG, rounded to 1/256 px.

    Known disparities are clipped to 1/256 .. 255.996 px, because 0 means unknown.
    """
    steps = np.rint(np.nan_to_num(disparity) * DISPARITY_STEPS)
    steps = np.clip(steps, 1, 65535)
    steps = np.where(np.isnan(disparity), 0, steps)
    return png16.write(steps.astype(np.uint16))


def read_flow(data: bytes) -> NDArray[np.float32]:
    """Return the flow, HxWx2, in pixels, NaN where the third channel is 0. Raises ImageFault."""
    pixels = _channels(data, 3)
    vectors = pixels[..., :2].astype(np.float32)
    steps = vectors - np.float32(FLOW_ZERO)
    flow = steps / np.float32(FLOW_STEPS)
    unknown = pixels[..., 2] == 0
    flow[unknown] = np.nan
    return flow


def write_flow(flow: NDArray[np.floating]) -> bytes:
    """Return the bytes of a PNG, rounded to 1/64 px. Known components are clipped to -512 .. 511.98 px."""
    valid = ~np.isnan(flow).any(axis=2)
    # Unknown vectors become 0 below; NaN could not be cast to integers.
    vectors = np.nan_to_num(flow)
    steps = np.rint(vectors * FLOW_STEPS) + FLOW_ZERO
    steps = np.clip(steps, 0, 65535)
    steps = np.where(valid[..., None], steps, 0)
    pixels = np.dstack([steps, valid])
    return png16.write(pixels.astype(np.uint16))


def _channels(data: bytes, expected: int) -> NDArray[np.uint16]:
    """Return the pixels, HxWxC. Raises ImageFault if the number of channels is another."""
    pixels = png16.read(data)
    channels = pixels.shape[2]
    if channels != expected:
        raise ImageFault(f"a PNG of {channels} channels, expected {expected}")
    return pixels
