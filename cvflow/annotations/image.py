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
"""File names that end so are taken for images."""

# Not all that Pillow can open: for EPS it would run Ghostscript.
_FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
    "JPEG2000",
)
_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held; 1 = upright."""
_SIDEWAYS = (5, 6, 7, 8)
"""The orientations under which width and height change places."""
_opening = threading.Lock()


class ImageFault(Exception):
    """Why bytes are not a usable image, in plain words."""


def decode(data: bytes, channels: int = 3, max_megapixels: float = MAX_MEGAPIXELS) -> Pixels:
    """Return the pixels of ``read`` as HxWxC, 0..255. channels: 1 = grey, 3 = RGB. Raises ImageFault."""
    mode: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
    image = read(data, mode, max_megapixels)
    pixels = np.array(image)
    return pixels.reshape(image.height, image.width, channels)


def read(
    data: bytes, mode: Literal["L", "RGB"] = "RGB", max_megapixels: float = MAX_MEGAPIXELS
) -> Image.Image:
    """Return the image, upright by EXIF, transparent parts on white, 16 bits scaled to 8.

    Of an animation, the first frame. Raises ImageFault.
    """
    image = load(data, max_megapixels)
    with _in_plain_words():
        image = _plain(image)
        # convert copies the pixels even if the mode is already right.
        if image.mode == mode:
            return image
        return image.convert(mode)


def load(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """Return the image in the file's own mode, upright by EXIF.

    Of an animation, the first frame. Raises ImageFault.
    """
    if not data:
        raise ImageFault("empty file")
    with _in_plain_words():
        image = _open(data)
        _check_size(image, max_megapixels)
        return _upright(image)


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height once upright, read from the file's header. Raises ImageFault."""
    with _in_plain_words():
        image = _open(data)
        if _orientation(image) in _SIDEWAYS:
            return image.height, image.width
        return image.width, image.height


def encode_png(pixels: Pixels) -> bytes:
    """Return the PNG bytes of HxW, HxWx1 or HxWx3 pixels, 0..255."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    image = Image.fromarray(pixels)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageFault."""
    try:
        yield
    except ImageFault:
        raise
    except UnidentifiedImageError as error:
        # Pillow's own text holds a memory address, so it would differ from run to run.
        raise ImageFault("not an image") from error
    except Exception as error:
        # Decoders raise anything: OSError, SyntaxError, struct.error, ...
        raise ImageFault(f"damaged image: {error}") from error


def _open(data: bytes) -> Image.Image:
    """Return the image with only its header read.

    Pillow's own size limit is switched off meanwhile: ours is checked before any pixel is read.
    """
    # The limit is a global of Pillow, so only one thread at a time may change it.
    with _opening:
        pillow_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(BytesIO(data), formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit


def _check_size(image: Image.Image, max_megapixels: float) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        decimals = 0 if megapixels >= 1 else 4
        size = f"{megapixels:.{decimals}f}"
        raise ImageFault(f"{size} megapixels, over the limit of {max_megapixels:g}")


def _orientation(image: Image.Image) -> int:
    orientation: int = image.getexif().get(_ORIENTATION, 1)
    return orientation


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        turned = _orientation(image) != 1
    except Exception:
        # Damaged EXIF says nothing about the pixels: the image is usable as it lies.
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in a mode that Pillow converts to L or RGB without loss of meaning."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ImageFault("floating-point pixels, their range unknown")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _on_white(image)
    return image


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Return the high byte of each pixel, as Pillow itself does for 16-bit colour."""
    pixels = np.asarray(image).astype(np.int64)
    least = pixels.min()
    greatest = pixels.max()
    if least < 0 or greatest > 65535:
        raise ImageFault(f"integer pixels from {least} to {greatest}, outside 16 bits")
    high_byte = (pixels >> 8).astype(np.uint8)
    return Image.fromarray(high_byte)
