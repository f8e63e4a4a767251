"""Pictures inside the page: each a data URI, none on disk."""

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
    """A data URI of an image, HxWxC or HxW uint8, C 1, 3 or 4; its longer side is at most ``side`` pixels.

    A smaller image is enlarged by a whole factor, pixel by pixel, and stays lossless (PNG); a larger one becomes a JPEG.
    """
    if (
        array.dtype != np.uint8
        or not array.size
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (1,), (3,), (4,))
    ):
        raise ValueError(f"got an image of shape {array.shape} and type {array.dtype}, expected HxWxC uint8")
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    longer = max(image.size)
    if longer > side:
        size = tuple(max(1, round(length * side / longer)) for length in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    elif factor := side // longer:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    lossless = longer <= side or image.mode == "RGBA"
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if lossless else "JPEG", **({"optimize": True} if lossless else {"quality": 85}))
    return _uri("png" if lossless else "jpeg", buffer.getvalue())


def beside(first: Array, *others: Array) -> Array:
    """Drawings of one image side by side; one alone where all are the same. HxWxC, of one shape."""
    if all(other is first or np.array_equal(first, other) for other in others):
        return first
    gap = np.full_like(first[:, :4], 255)
    return np.concatenate([first, *(part for other in others for part in (gap, other))], axis=1)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Item:
    """A picture and what is said of it. image: HxWxC uint8, or encoded bytes (PNG, JPEG, ...); tone: the colour of its edge."""

    image: Array | bytes
    caption: str = ""
    tone: Literal["good", "bad", ""] = ""
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in a wrapping grid. side: longest side of each, pixels; twice that where one is wide, as drawings beside each other."""

    items: Sequence[Item]
    title: str = ""
    side: int = 112
    kind: ClassVar[str] = "gallery"

    @property
    def cards(self) -> list[tuple[str, Item]]:
        """(data URI, item)."""
        return [
            (thumbnail(picture, self.width), item)
            for picture, item in zip(self._pictures, self.items, strict=True)
        ]

    @property
    def width(self) -> int:
        """The longest side of each picture, pixels."""
        return 2 * self.side if any(p.shape[1] > WIDE * p.shape[0] for p in self._pictures) else self.side

    @cached_property
    def _pictures(self) -> list[Array]:
        return [_pixels(item.image) for item in self.items]


@dataclass(frozen=True)
class Strips:
    """Rows of pictures under common headings, as the variants of an image. images: each row as long as ``columns``, HxWxC uint8."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Array]]]
    title: str = ""
    side: int = 96
    kind: ClassVar[str] = "strips"

    def __post_init__(self) -> None:
        for name, images in self.rows:
            if len(images) != len(self.columns):
                raise ValueError(
                    f"{name}: got {len(images)} images, expected {len(self.columns)}: {list(self.columns)}"
                )

    @property
    def lines(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """(name of the row, [(data URI, what it shows)])."""
        return [
            (
                name,
                [
                    (thumbnail(i, self.side), f"{name}, {c}")
                    for c, i in zip(self.columns, images, strict=True)
                ],
            )
            for name, images in self.rows
        ]


@dataclass(frozen=True)
class Lineups:
    """Rows of pictures, each with what is said of it, under common headings: an image and those found to be like it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Item]]
    title: str = ""
    side: int = 96
    kind: ClassVar[str] = "lineups"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) > len(self.columns):
                raise ValueError(
                    f"got a row of {len(row)} images, expected at most {len(self.columns)}: {list(self.columns)}"
                )

    @property
    def lines(self) -> list[list[tuple[str, Item]]]:
        """(data URI, item) of each picture."""
        return [[(thumbnail(_pixels(item.image), self.side), item) for item in row] for row in self.rows]


def _pixels(image: Array | bytes) -> Array:
    if not isinstance(image, bytes):
        return image
    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened if opened.mode == "L" else opened.convert("RGB"))
