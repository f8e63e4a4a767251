"""PNG of 16 bits a channel, of which Pillow keeps 8 if there is colour.

W3C, Portable Network Graphics (PNG) Specification, third edition.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import MAX_MEGAPIXELS, ImageFault

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33
_COLOUR_TYPES = {1: 0, 3: 2}
"""Channels -> what a PNG's header calls them."""
_SUB, _UP, _AVERAGE, _PAETH = 1, 2, 3, 4
"""The filters of a row; 0 is none."""


def read(data: bytes) -> NDArray[np.uint16]:
    """Return the pixels, HxWxC, 0..65535, C = 1 or 3. Raises ImageFault."""
    width, height, channels = _header(data)
    length = height * (1 + 2 * channels * width)
    rows = _unpacked(data, length)
    if len(rows) < length:
        raise ImageFault(f"a cut PNG: {len(rows)} bytes of pixels, not {length}")
    lines = np.frombuffer(rows, np.uint8).reshape(height, -1)
    # The first byte of a row names its filter.
    filters = lines[:, 0]
    filtered = lines[:, 1:].reshape(height, width, 2 * channels)
    pixels = _unfiltered(filters, filtered)
    return pixels.view(">u2").astype(np.uint16)


def write(pixels: NDArray[np.uint16]) -> bytes:
    """Return the bytes of a PNG. pixels: HxW or HxWxC, C = 1 or 3."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = np.ascontiguousarray(pixels.reshape(height, -1), dtype=">u2").view(np.uint8)
    filtered = rows.copy()
    filtered[1:] -= rows[:-1]  # modulo 256
    filters = np.full((height, 1), _UP, np.uint8)
    body = np.concatenate([filters, filtered], axis=1)
    return (
        SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(body.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def _header(data: bytes) -> tuple[int, int, int]:
    """Return width, height and channels. Raises ImageFault if the PNG is of another kind."""
    if data[:8] != SIGNATURE or len(data) < _HEADER_END:
        raise ImageFault("no PNG, or one cut in its header")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if bits != 16 or colour not in _COLOUR_TYPES.values():
        raise ImageFault(f"a PNG of {bits} bits and colour type {colour}, expected 16 bits, grey or RGB")
    if interlaced:
        raise ImageFault("an interlaced PNG, expected a plain one")
    if not 0 < width * height <= MAX_MEGAPIXELS * 1e6:
        raise ImageFault(f"{width}x{height} pixels, expected 1 to {MAX_MEGAPIXELS} million")
    channels = 1 if colour == 0 else 3
    return width, height, channels


def _unpacked(data: bytes, length: int) -> bytes:
    """Return the filtered rows, at most ``length`` bytes. Raises ImageFault."""
    packed = bytearray()
    try:
        for kind, content in _chunks(data):
            if kind == b"IDAT":
                packed += content
        # The limit keeps a small file from growing to any size in memory.
        return zlib.decompressobj().decompress(packed, length)
    except (zlib.error, struct.error) as error:
        raise ImageFault(f"damaged PNG: {error}") from error


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of each chunk. Raises ImageFault if a checksum is wrong."""
    start = len(SIGNATURE)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        content_start = start + 8
        content_end = content_start + length
        end = content_end + 4
        content = data[content_start:content_end]
        checksum = data[content_end:end]
        if checksum != _checksum(kind, content):
            raise ImageFault("damaged PNG: a checksum is wrong")
        yield kind, content
        start = end


def _chunk(kind: bytes, content: bytes) -> bytes:
    length = struct.pack(">I", len(content))
    return length + kind + content + _checksum(kind, content)


def _checksum(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(kind + content))


def _unfiltered(filters_H: NDArray[np.uint8], lines_HWB: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the bytes of the pixels, HxWxB; B = bytes a pixel.

    Each byte is stored as its difference from a guess that is based on the bytes to the left and above.
    """
    if filters_H.max() > _PAETH:
        raise ImageFault(f"damaged PNG: filter {filters_H.max()}")
    height, width, size = lines_HWB.shape
    # No pixel on a diagonal depends on another one there, so a diagonal is done at once:
    # element (t, r) of the skewed array is pixel t - r of row r - 1.
    rows = np.arange(1, height + 1)[:, None]
    diagonals = np.arange(width)[None] + rows
    skewed = np.zeros((width + height, height + 1, size), np.int16)
    skewed[diagonals, rows] = lines_HWB
    filters_H1 = filters_H[:, None]
    before_last = np.zeros_like(skewed[0])
    last = skewed[0]
    for diagonal in skewed[1:]:
        guess = _guess(filters_H1, left=last[1:], above=last[:-1], corner=before_last[:-1])
        diagonal[1:] = (diagonal[1:] + guess) % 256
        before_last = last
        last = diagonal
    pixels: NDArray[np.uint8] = skewed[diagonals, rows].astype(np.uint8)
    return pixels


def _guess(
    filters_H1: NDArray[np.uint8],
    left: NDArray[np.int16],
    above: NDArray[np.int16],
    corner: NDArray[np.int16],
) -> NDArray[np.int16]:
    """Return what each row's filter expects, from the three neighbours; 0 without a filter."""
    guesses = {
        _SUB: left,
        _UP: above,
        _AVERAGE: (left + above) // 2,
        _PAETH: _paeth(left, above, corner),
    }
    conditions = [filters_H1 == number for number in guesses]
    return np.select(conditions, list(guesses.values()))


def _paeth(left: NDArray[np.int16], above: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return whichever of the three is nearest to left + above - corner (Paeth's filter)."""
    to_left = abs(above - corner)
    to_above = abs(left - corner)
    to_corner = abs(left + above - 2 * corner)
    # The order of preference among equals is part of the format: left, above, corner.
    above_or_corner = np.where(to_above <= to_corner, above, corner)
    left_wins = (to_left <= to_above) & (to_left <= to_corner)
    nearest = np.where(left_wins, left, above_or_corner)
    return nearest.astype(np.int16)
