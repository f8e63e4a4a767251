"""PFM, the portable float map: a text header, then rows of float32 from the bottom up.

From Debevec; used for Middlebury's disparities. ``Pf`` is one channel, ``PF`` three. The sign of the scale
is the byte order: negative = little-endian.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+(\S{1,32})(?:\r\n|\s)")


def read(data: bytes) -> NDArray[np.float32]:
    """Return the map, HxW or, for ``PF``, HxWx3, top row first, values unscaled. Raises ImageFault."""
    header = _HEADER.match(data)
    if header is None:
        raise ImageFault("no PFM: expected 'Pf', width, height and scale")
    width, height = int(header[2]), int(header[3])
    shape = (height, width, 3) if header[1] == b"PF" else (height, width)
    byte_order = "<" if _scale(header[4]) < 0 else ">"
    body = data[header.end() :]
    expected = 4 * math.prod(shape)
    if not expected or len(body) < expected:
        raise ImageFault(f"a PFM of {width}x{height} with {len(body)} bytes of pixels, not {expected}")
    numbers = np.frombuffer(body[:expected], f"{byte_order}f4")
    rows = numbers.reshape(shape)
    return np.ascontiguousarray(rows[::-1], dtype=np.float32)


def write(array: NDArray[np.floating]) -> bytes:
    """Return a little-endian PFM, scale 1. array: HxW or HxWx3."""
    height, width = array.shape[:2]
    kind = "PF" if array.ndim == 3 else "Pf"
    header = f"{kind}\n{width} {height}\n-1\n"
    rows = array[::-1].astype("<f4")
    return header.encode() + rows.tobytes()


def _scale(text: bytes) -> float:
    """Return the scale, a finite number other than 0. Raises ImageFault."""
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale) or scale == 0:
        printable = text.decode("ascii", "replace")
        raise ImageFault(f"a PFM whose scale is {printable!r}, not a number beside 0")
    return scale
