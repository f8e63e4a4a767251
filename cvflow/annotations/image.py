"""Encoded image bytes to pixels and back, whatever the file claims to be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = NDArray[np.uint8]

MAX_MEGAPIXELS = 200
IMAGE_SUFFIXES = (
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
"""File names that are taken for images."""
_FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
    "JPEG2000",
)  # of the others, EPS would run Ghostscript
_ORIENTATION = 0x0112  # EXIF tag; 1 = upright
_LYING = (5, 6, 7, 8)
_opening = threading.Lock()


class ImageFault(Exception):
    """Why bytes are not a usable image, in plain words."""


def decode(data: bytes, channels: int = 3, max_megapixels: float = MAX_MEGAPIXELS) -> Pixels:
    """Pixels HxWxC, 0..255, as ``read`` gives them. channels: 1 = grey, 3 = RGB. Raises ImageFault."""
    pixels = np.array(read(data, "L" if channels == 1 else "RGB", max_megapixels))
    return pixels.reshape(*pixels.shape[:2], channels)


def read(
    data: bytes, mode: Literal["L", "RGB"] = "RGB", max_megapixels: float = MAX_MEGAPIXELS
) -> Image.Image:
    """The image, upright by EXIF; transparent parts lie on white; 16 bits are scaled to 8.

    Of an animation, the first frame. Raises ImageFault.
    """
    image = load(data, max_megapixels)
    with _in_plain_words():
        image = _plain(image)
        return (
            image if image.mode == mode else image.convert(mode)
        )  # convert copies even where there is nothing to do


def load(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """The image in the file's own mode, upright by EXIF. Of an animation, the first frame. Raises ImageFault."""
    if not data:
        raise ImageFault("empty file")
    with _in_plain_words():
        image = _open(data)
        _check_size(image, max_megapixels)
        return _upright(image)


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height once upright, by the file's header. Raises ImageFault."""
    with _in_plain_words():
        image = _open(data)
        return image.size[::-1] if image.getexif().get(_ORIENTATION, 1) in _LYING else image.size


@contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except ImageFault:
        raise
    except UnidentifiedImageError as error:  # its own text holds a memory address
        raise ImageFault("not an image") from error
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, struct.error, ...
        raise ImageFault(f"damaged image: {error}") from error


def encode_png(pixels: Pixels) -> bytes:
    """PNG bytes of HxW, HxWx1 or HxWx3 pixels, 0..255."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=6)
    return out.getvalue()


def _open(data: bytes) -> Image.Image:
    """The image, its header read. Pillow's own limit (a global) rests meanwhile: ours is checked before pixels are read."""
    with _opening:
        theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(BytesIO(data), formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = theirs


def _check_size(image: Image.Image, max_megapixels: float) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise ImageFault(
            f"{megapixels:.{0 if megapixels >= 1 else 4}f} megapixels, over the limit of {max_megapixels:g}"
        )


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
    except Exception:  # damaged EXIF says nothing about the pixels
        turned = False
    return ImageOps.exif_transpose(image) if turned else image


def _plain(image: Image.Image) -> Image.Image:
    """The image in a mode that Pillow converts to L or RGB without loss of meaning."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ImageFault("floating-point pixels, their range unknown")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _from_16_bit(image: Image.Image) -> Image.Image:
    """The high byte, as Pillow itself takes of 16-bit colour."""
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise ImageFault(f"integer pixels from {wide.min()} to {wide.max()}, outside 16 bits")
    return Image.fromarray((wide >> 8).astype(np.uint8))
