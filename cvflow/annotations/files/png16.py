"""PNG of 16 bits a channel, which Pillow reads at 8 bits where it has colour (W3C, Portable Network Graphics, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations.image import MAX_MEGAPIXELS, ImageFault

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}
"""Channels -> what a PNG's header calls them."""
_UP = 2


def read(data: bytes) -> NDArray[np.uint16]:
    """HxWxC, 0..65535, C = 1 or 3. Raises ImageFault."""
    width, height, channels = _header(data)
    length = height * (1 + 2 * channels * width)
    try:
        packed = b"".join(content for kind, content in _chunks(data) if kind == b"IDAT")
        rows = zlib.decompressobj().decompress(packed, length)
    except (zlib.error, struct.error) as error:
        raise ImageFault(f"damaged PNG: {error}") from error
    if len(rows) < length:
        raise ImageFault(f"a cut PNG: {len(rows)} bytes of pixels, not {length}")
    lines = np.frombuffer(rows, np.uint8).reshape(height, -1)
    pixels = _unfiltered(lines[:, 0], lines[:, 1:].reshape(height, width, 2 * channels))
    return pixels.view(">u2").astype(np.uint16)


def _header(data: bytes) -> tuple[int, int, int]:
    """(width, height, channels)"""
    if data[:8] != SIGNATURE or len(data) < 33:
        raise ImageFault("no PNG, or one cut in its header")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if bits != 16 or colour not in _COLOUR_TYPES.values():
        raise ImageFault(f"a PNG of {bits} bits and colour type {colour}, expected 16 bits, grey or RGB")
    if interlaced:
        raise ImageFault("an interlaced PNG, expected a plain one")
    if not 0 < width * height <= MAX_MEGAPIXELS * 1e6:
        raise ImageFault(f"{width}x{height} pixels, expected 1 to {MAX_MEGAPIXELS} million")
    return width, height, 1 if colour == 0 else 3


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        if struct.pack(">I", zlib.crc32(kind + content)) != data[at + 8 + length : at + 12 + length]:
            raise ImageFault("damaged PNG: a checksum is wrong")
        yield kind, content
        at += 12 + length


def _unfiltered(filters_H: NDArray[np.uint8], lines_HWB: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each byte is stored as its difference from a guess by the bytes to the left and above; B bytes a pixel.

    Along a diagonal no pixel depends on another, so a diagonal is done at once: element t, r is the pixel t - r of row r - 1.
    """
    if filters_H.max() > 4:
        raise ImageFault(f"damaged PNG: filter {filters_H.max()}")
    height, width, size = lines_HWB.shape
    skewed = np.zeros((width + height, height + 1, size), np.int16)
    steps, rows = np.arange(width)[None] + np.arange(height)[:, None] + 1, np.arange(1, height + 1)[:, None]
    skewed[steps, rows] = lines_HWB
    kinds = filters_H[:, None]
    before, last = np.zeros_like(skewed[0]), skewed[0]
    for diagonal in skewed[1:]:
        left, above, corner = last[1:], last[:-1], before[:-1]
        guess = np.select(
            [kinds == 1, kinds == _UP, kinds == 3, kinds == 4],
            [left, above, (left + above) // 2, _paeth(left, above, corner)],
        )
        diagonal[1:] = (diagonal[1:] + guess) % 256
        before, last = last, diagonal
    pixels: NDArray[np.uint8] = skewed[steps, rows].astype(np.uint8)
    return pixels


def _paeth(left: NDArray[np.int16], above: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """Of the three, the one nearest to left + above - corner."""
    to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    nearest = np.where(
        (to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner)
    )
    return nearest.astype(np.int16)


def write(pixels: NDArray[np.uint16]) -> bytes:
    """pixels: HxW or HxWxC, C = 1 or 3."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels.reshape(height, -1), dtype=">u2").view(np.uint8)
    filtered = rows.copy()
    filtered[1:] -= rows[:-1]  # modulo 256
    body = np.concatenate([np.full((height, 1), _UP, np.uint8), filtered], axis=1)
    colour = _COLOUR_TYPES[1 if pixels.ndim == 2 else pixels.shape[2]]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(body.tobytes(), 6))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
