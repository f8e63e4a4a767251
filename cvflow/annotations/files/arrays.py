"""NumPy's .npy and .npz with one array in them; nothing in a file is ever run (no pickle)."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

MOST_BYTES = 2**31
"""Of an array: a small file may claim any size."""


def read(data: bytes, name: str = "") -> NDArray[Any]:
    """The array of a .npy, or of a .npz the one called ``name``, else its only one. Raises ImageFault."""
    return _from_npz(data, name) if data[:2] == b"PK" else _from_npy(data)


def write(name: str, array: NDArray[Any]) -> bytes:
    """A compressed .npz; the same array gives the same bytes."""
    out = BytesIO()
    arrays: dict[str, Any] = {name: array}
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _from_npz(data: bytes, name: str) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(BytesIO(data)) as file:
            there = [info for info in file.infolist() if info.filename.endswith(".npy")]
            chosen = [info for info in there if info.filename == f"{name}.npy"] or there
            if len(chosen) != 1:
                raise ImageFault(f"an .npz with {len(there)} arrays, expected one, or one called '{name}'")
            if chosen[0].file_size > MOST_BYTES:
                raise ImageFault(
                    f"an array of {chosen[0].file_size / 1e6:,.0f} MB, over {MOST_BYTES / 1e6:,.0f} MB"
                )
            content = file.read(chosen[0])
    except ImageFault:
        raise
    except Exception as error:  # BadZipFile, zlib.error, NotImplementedError, struct.error, ...
        raise ImageFault(f"damaged .npz: {error}") from error
    return _from_npy(content)


def _from_npy(data: bytes) -> NDArray[Any]:
    file = BytesIO(data)
    try:
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, dtype = readers[npy.read_magic(file)](file)
    except Exception as error:  # ValueError, KeyError of an unknown version, SyntaxError, tokenize's, ...
        raise ImageFault("no .npy or .npz, or a damaged header") from error
    body = data[file.tell() :]
    if dtype.kind not in "fiu":
        raise ImageFault(f"an array of {dtype}, expected numbers")
    if min(shape, default=1) < 0 or len(body) < (expected := math.prod(shape) * dtype.itemsize):
        raise ImageFault(f"an array of {'x'.join(map(str, shape))} {dtype} with {len(body)} bytes")
    return np.frombuffer(body[:expected], dtype).reshape(shape, order="F" if fortran else "C")
