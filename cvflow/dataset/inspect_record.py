"""A look at the images of one record and the annotations in them: can they be used, and what is counted of them.

Worker processes import this file: it must not bring in torch.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import warnings
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.annotations import KINDS
from cvflow.annotations.image import ImageFault, read

Histogram = NDArray[np.int64]
"""3 x 256: per channel (RGB), how many pixels have each value."""

THUMBNAIL = 8
"""Side of the thumbnails by which images are compared, pixels. 8 x 8 x 3 products of bytes add up exactly in float32."""


UNREADABLE, MISANNOTATED = "unreadable", "wrong annotation"
"""The topics of faults."""


class Asked(NamedTuple):
    """One record's encoded images, and what is wanted. fault: why they could not be read; topic: of it; column: the one at fault.

    values: of the annotations that lie in the pixels.
    """

    images: Mapping[str, bytes]
    count_pixels: bool
    thumbnail: bool
    fault: str | None = None
    topic: str = UNREADABLE
    column: str = ""
    values: Mapping[str, Any] = {}


class Terms(NamedTuple):
    """By what records are judged. kinds: annotation -> its kind. classes: their names."""

    max_megapixels: float
    kinds: Mapping[str, str] = {}
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Look:
    """content: hash of the images' bytes. fault: why they cannot be used, if so; topic: of it; column: the image or annotation at fault.

    size: width and height of the first image.
    thumbnail: RGB bytes, where one was asked for. maps: hash of the annotations' bytes, where there are any. counts: of the
    first annotation with classes in its pixels, how many pixels have each value (256).
    """

    content: bytes
    fault: str | None = None
    topic: str = ""
    column: str = ""
    size: tuple[int, int] | None = None
    thumbnail: bytes | None = None
    maps: bytes = b""
    counts: NDArray[np.int64] | None = None


def begin() -> None:
    """First of all in a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent killed outright tells its workers nothing: they would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def look_at(asked: Sequence[Asked], terms: Terms) -> tuple[list[Look], Histogram]:
    """A look at each, and the sum of the histograms that were asked for, of first images."""
    total = np.zeros((3, 256), dtype=np.int64)
    looks = [_look(one, terms, total) for one in asked]
    return looks, total


def _look(asked: Asked, terms: Terms, total: Histogram) -> Look:
    content = hashlib.blake2b(b"".join(asked.images.values()), digest_size=16).digest()
    encoded = [value for value in asked.values.values() if isinstance(value, bytes)]
    maps = hashlib.blake2b(b"".join(encoded), digest_size=16).digest() if encoded else b""
    if asked.fault:
        return Look(content, asked.fault, asked.topic, asked.column, maps=maps)
    images: list[Image.Image] = []
    counts: NDArray[np.int64] | None = None
    column, topic = "", UNREADABLE
    try:
        for column in asked.images:
            images.append(read(asked.images[column], "RGB", terms.max_megapixels))
        _check_sizes(images)
        topic = MISANNOTATED
        for column in asked.values:
            found = _counted(asked.values[column], terms.kinds[column], images[0], terms.classes)
            counts = found if counts is None else counts
    except ImageFault as error:
        return Look(content, str(error), topic, column, maps=maps)
    first = images[0]
    if asked.count_pixels:
        total += np.frombuffer(array("q", first.histogram()), dtype=np.int64).reshape(3, 256)
    thumbnail = (
        first.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes() if asked.thumbnail else None
    )
    return Look(content, size=first.size, thumbnail=thumbnail, maps=maps, counts=counts)


def _check_sizes(images: Sequence[Image.Image]) -> None:
    sizes = dict.fromkeys(f"{image.width}x{image.height}" for image in images)
    if len(sizes) > 1:
        raise ImageFault(f"images of different sizes: {' and '.join(sizes)} pixels")


def _counted(value: Any, name: str, image: Image.Image, classes: Sequence[str]) -> NDArray[np.int64] | None:
    """The pixels of each class, where an annotation of this kind has them. Raises ImageFault where it cannot be used."""
    kind = KINDS[name]
    decoded = kind.decode(value)
    if fault := kind.fault(decoded, (image.height, image.width), classes):
        raise ImageFault(fault)
    return kind.count(decoded) if kind.count else None
