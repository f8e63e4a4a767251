"""Pictures inside the page: each is a data URI, none a file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
WIDE = 1.6
"""Width by height from which a picture needs twice the room."""


def thumbnail(array: Array, side: int = 96) -> str:
    """Return a data URI of an image, HxWxC or HxW uint8, C 1, 3 or 4.

    Its longer side is at most ``side`` pixels. A smaller image is enlarged by an integer factor, pixel
    by pixel, and stays lossless (PNG); a larger one becomes a JPEG.
    """
    _check_image(array)
    grey = array.ndim == 3 and array.shape[2] == 1
    image = Image.fromarray(array[:, :, 0] if grey else array)
    longer = max(image.size)
    resized = _reduced(image, side) if longer > side else _enlarged(image, side // longer)
    buffer = io.BytesIO()
    # JPEG has no transparency.
    if longer <= side or image.mode == "RGBA":
        resized.save(buffer, "PNG", optimize=True)
        return _uri("png", buffer.getvalue())
    resized.save(buffer, "JPEG", quality=85)
    return _uri("jpeg", buffer.getvalue())


def rgb(pixels: Array) -> Array:
    """Return HxWx3. pixels: HxWxC, C 1 or 3."""
    if pixels.shape[2] == 3:
        return pixels
    return pixels.repeat(3, axis=2)


def beside(first: Array, *drawings: Array) -> Array:
    """Return drawings of one image side by side; the first alone if all are the same. HxWxC, of one shape."""
    if all(_same(first, drawing) for drawing in drawings):
        return first
    gap = np.full_like(first[:, :4], 255)
    parts = [first]
    for drawing in drawings:
        parts += [gap, drawing]
    return np.concatenate(parts, axis=1)


def _same(first: Array, second: Array) -> bool:
    """Return whether the drawings are equal; the same object needs no look at the pixels."""
    if second is first:
        return True
    return np.array_equal(first, second)


def _check_image(array: Array) -> None:
    channels = array.shape[2:]
    has_shape = array.ndim in (2, 3) and channels in ((), (1,), (3,), (4,))
    if has_shape and array.size and array.dtype == np.uint8:
        return
    got = f"an image of shape {array.shape} and type {array.dtype}"
    raise ValueError(f"got {got}, expected HxWxC uint8")


def _reduced(image: Image.Image, side: int) -> Image.Image:
    longer = max(image.size)
    width = round(image.width * side / longer)
    height = round(image.height * side / longer)
    size = (max(1, width), max(1, height))
    return image.resize(size, Image.Resampling.LANCZOS)


def _enlarged(image: Image.Image, factor: int) -> Image.Image:
    width = image.width * factor
    height = image.height * factor
    size = (width, height)
    return image.resize(size, Image.Resampling.NEAREST)


def _uri(kind: str, data: bytes) -> str:
    encoded = base64.b64encode(data)
    text = encoded.decode()
    return f"data:image/{kind};base64,{text}"


@dataclass(frozen=True)
class Item:
    """A picture and its text.

    image: HxWxC uint8, or encoded bytes (PNG, JPEG, ...). tone: the colour of its edge.
    """

    image: Array | bytes
    caption: str = ""
    tone: Literal["good", "bad", ""] = ""
    note: str = ""

    def thumbnail(self, side: int) -> str:
        """Return a data URI of the picture."""
        pixels = _pixels(self.image)
        return thumbnail(pixels, side)


@dataclass(frozen=True)
class Gallery:
    """Pictures in a wrapping grid.

    side: longest side of each, pixels; twice that if one is wide, as drawings beside each other are.
    """

    items: Sequence[Item]
    title: str = ""
    side: int = 112
    kind: ClassVar[str] = "gallery"

    @property
    def cards(self) -> list[tuple[str, Item]]:
        """(data URI, item) of each picture."""
        cards = []
        for picture, item in zip(self._pictures, self.items, strict=True):
            uri = thumbnail(picture, self.width)
            cards.append((uri, item))
        return cards

    @property
    def width(self) -> int:
        """The longest side of each picture, pixels."""
        for picture in self._pictures:
            height, width = picture.shape[:2]
            if width > WIDE * height:
                return 2 * self.side
        return self.side

    @cached_property
    def _pictures(self) -> list[Array]:
        return [_pixels(item.image) for item in self.items]


@dataclass(frozen=True)
class Strips:
    """Rows of pictures under common headings, such as the variants of an image.

    rows: (name, images), as many images as ``columns``, each HxWxC uint8.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Array]]]
    title: str = ""
    side: int = 96
    kind: ClassVar[str] = "strips"

    def __post_init__(self) -> None:
        for name, images in self.rows:
            if len(images) == len(self.columns):
                continue
            expected = f"{len(self.columns)}: {list(self.columns)}"
            raise ValueError(f"{name}: got {len(images)} images, expected {expected}")

    @property
    def lines(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """(name of the row, [(data URI, text instead of the picture)])."""
        lines = []
        for name, images in self.rows:
            pictures = self._pictures(name, images)
            lines.append((name, pictures))
        return lines

    def _pictures(self, name: str, images: Sequence[Array]) -> list[tuple[str, str]]:
        pictures = []
        for column, image in zip(self.columns, images, strict=True):
            uri = thumbnail(image, self.side)
            pictures.append((uri, f"{name}, {column}"))
        return pictures


@dataclass(frozen=True)
class Lineups:
    """Rows of pictures with their texts under common headings: an image and those nearest to it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Item]]
    title: str = ""
    side: int = 96
    kind: ClassVar[str] = "lineups"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) <= len(self.columns):
                continue
            expected = f"at most {len(self.columns)}: {list(self.columns)}"
            raise ValueError(f"got a row of {len(row)} images, expected {expected}")

    @property
    def lines(self) -> list[list[tuple[str, Item]]]:
        """(data URI, item) of each picture."""
        lines = []
        for row in self.rows:
            line = [(item.thumbnail(self.side), item) for item in row]
            lines.append(line)
        return lines


def _pixels(image: Array | bytes) -> Array:
    if not isinstance(image, bytes):
        return image
    buffer = io.BytesIO(image)
    with Image.open(buffer) as opened:
        if opened.mode == "L":
            return np.asarray(opened)
        return np.asarray(opened.convert("RGB"))
