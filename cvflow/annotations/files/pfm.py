"""PFM, the portable float map: a text header, then rows of float32 from the bottom up (Debevec; Middlebury's disparities).

``Pf`` is one channel, ``PF`` three. The sign of the scale is the byte order: negative = little-endian.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+(\S{1,32})(?:\r\n|\s)")


def read(data: bytes) -> NDArray[np.float32]:
    """HxW, or HxWx3 of ``PF``, top row first, values as they stand. Raises ImageFault."""
    header = _HEADER.match(data)
    if header is None:
        raise ImageFault("no PFM: expected 'Pf', width, height and scale")
    kind, width, height, scale = header[1], int(header[2]), int(header[3]), _number(header[4])
    shape = (height, width, 3) if kind == b"PF" else (height, width)
    body, expected = data[header.end() :], 4 * math.prod(shape)
    if not expected or len(body) < expected:
        raise ImageFault(f"a PFM of {width}x{height} with {len(body)} bytes of pixels, not {expected}")
    rows = np.frombuffer(body[:expected], "<f4" if scale < 0 else ">f4").reshape(shape)
    return np.ascontiguousarray(rows[::-1], dtype=np.float32)


def write(array: NDArray[np.floating]) -> bytes:
    """A little-endian PFM of HxW or HxWx3, scale 1."""
    kind = "PF" if array.ndim == 3 else "Pf"
    return f"{kind}\n{array.shape[1]} {array.shape[0]}\n-1\n".encode() + array[::-1].astype("<f4").tobytes()


def _number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value == 0:
        raise ImageFault(f"a PFM whose scale is {text.decode('ascii', 'replace')!r}, not a number beside 0")
    return value
