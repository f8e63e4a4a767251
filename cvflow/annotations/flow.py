"""Where each pixel of the first image is in the second: float32 HxWx2, u to the right and v down, pixels, NaN = unknown.

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
"""The share of vectors that may be longer than the image's diagonal: what leaves it fast is, in made scenes; more is another unit."""


def decode(data: bytes) -> Map:
    """HxWx2. Raises ImageFault where this is no map of vectors."""
    flow = arrays.read(data, "flow")
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ImageFault(f"a flow of {'x'.join(map(str, flow.shape))} numbers, not of HxWx2")
    return flow.astype(np.float32)


def encode(flow: Map) -> bytes:
    """flow: HxWx2."""
    return arrays.write("flow", flow.astype(np.float32))


def fault(flow: Map, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """size: of the image."""
    if flow.shape[:2] != size:
        return f"a flow of {flow.shape[1]}x{flow.shape[0]} pixels for an image of {size[1]}x{size[0]}"
    lacking = np.isnan(flow)
    if count := np.count_nonzero(lacking[..., 0] != lacking[..., 1]):
        return f"a flow with one of its two components at {count:,} pixels"
    known = flow[~lacking.any(axis=2)]
    if not len(known):
        return "a flow without a known pixel"
    if count := np.count_nonzero(np.isinf(known).any(axis=1)):
        return f"a flow that is infinite at {count:,} pixels; NaN says that one is unknown"
    lengths, diagonal = np.hypot(*known.astype(np.float64).T), math.hypot(*size)
    if (far := float(np.mean(lengths > diagonal))) > MOST_FAR:
        return f"a flow of up to {lengths.max():g} pixels, longer than the image's diagonal of {diagonal:.0f} at {far:.1%} of the pixels"
    return None
