"""NumPy's .npy and .npz with one array in them; nothing in a file is ever run (no pickle)."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cvflow.annotations.image import ImageFault

MOST_BYTES = 2**31
"""The largest array that is unpacked: a small file may claim any size."""
_HEADER_READERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


def read(data: bytes, name: str = "") -> NDArray[Any]:
    """Return the array of a .npy, or of a .npz the one called ``name``, else its only one.

    Raises ImageFault.
    """
    if data[:2] == b"PK":
        data = _member_of_npz(data, name)
    return _from_npy(data)


def write(name: str, array: NDArray[Any]) -> bytes:
    """Return a compressed .npz; the same array gives the same bytes."""
    buffer = BytesIO()
    arrays: dict[str, Any] = {name: array}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _member_of_npz(data: bytes, name: str) -> bytes:
    """Return the bytes of one .npy in a .npz. Raises ImageFault."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as file:
            return file.read(_choose_member(file, name))
    except ImageFault:
        raise
    except Exception as error:
        # BadZipFile, zlib.error, NotImplementedError, struct.error, ...
        raise ImageFault(f"damaged .npz: {error}") from error


def _choose_member(file: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return the array called ``name``, else the only one."""
    members = [info for info in file.infolist() if info.filename.endswith(".npy")]
    candidates = [info for info in members if info.filename == f"{name}.npy"]
    if not candidates:
        candidates = members
    if len(candidates) != 1:
        raise ImageFault(f"an .npz with {len(members)} arrays, expected one, or one called '{name}'")
    member = candidates[0]
    if member.file_size > MOST_BYTES:
        size, limit = member.file_size / 1e6, MOST_BYTES / 1e6
        raise ImageFault(f"an array of {size:,.0f} MB, over {limit:,.0f} MB")
    return member


def _from_npy(data: bytes) -> NDArray[Any]:
    """Return the array of a .npy. Raises ImageFault."""
    file = BytesIO(data)
    shape, fortran_order, dtype = _read_header(file)
    if dtype.kind not in "fiu":
        raise ImageFault(f"an array of {dtype}, expected numbers")
    header_bytes = file.tell()
    body = data[header_bytes:]
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or len(body) < expected:
        text = "x".join(map(str, shape))
        raise ImageFault(f"an array of {text} {dtype} with {len(body)} bytes")
    order: Literal["C", "F"] = "F" if fortran_order else "C"
    flat = np.frombuffer(body[:expected], dtype)
    return flat.reshape(shape, order=order)


def _read_header(file: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and dtype; the file then stands at the numbers."""
    try:
        version = npy.read_magic(file)
        return _HEADER_READERS[version](file)
    except Exception as error:
        # ValueError, KeyError for an unknown version, SyntaxError, those of tokenize, ...
        raise ImageFault("no .npy or .npz, or a damaged header") from error
