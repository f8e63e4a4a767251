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

from cvflow.data.annotations import KINDS
from cvflow.data.images import ImageFault, read

Histogram = NDArray[np.int64]
"""3 x 256: per channel (RGB), how many pixels have each value."""

THUMBNAIL = 8
"""Side of the thumbnails by which images are compared, pixels. 8 x 8 x 3 products of bytes add up exactly in float32."""


UNREADABLE, MISANNOTATED = "unreadable", "wrong annotation"
"""The topics of faults."""


class Asked(NamedTuple):
    """One record's encoded images, and what is wanted. fault: why they could not be read; topic: of it.

    values: of the annotations that lie in the pixels.
    """

    images: Sequence[bytes]
    count_pixels: bool
    thumbnail: bool
    fault: str | None = None
    topic: str = UNREADABLE
    values: Mapping[str, Any] = {}


class Terms(NamedTuple):
    """By what records are judged. kinds: annotation -> its kind. classes: their names."""

    max_megapixels: float
    kinds: Mapping[str, str] = {}
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Look:
    """content: hash of the images' bytes. fault: why they cannot be used, if so; topic: of it. size: width and height of the first image.

    thumbnail: RGB bytes, where one was asked for. maps: hash of the annotations' bytes, where there are any. counts: of the
    first annotation with classes in its pixels, how many pixels have each value (256).
    """

    content: bytes
    fault: str | None = None
    topic: str = ""
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
    content = hashlib.blake2b(b"".join(asked.images), digest_size=16).digest()
    encoded = [value for value in asked.values.values() if isinstance(value, bytes)]
    maps = hashlib.blake2b(b"".join(encoded), digest_size=16).digest() if encoded else b""
    if asked.fault:
        return Look(content, asked.fault, asked.topic, maps=maps)
    topic = UNREADABLE
    try:
        first, *others = [read(data, "RGB", terms.max_megapixels) for data in asked.images]
        _check_sizes([first, *others])
        topic = MISANNOTATED
        counts = _annotated(asked.values, first, terms)
    except ImageFault as error:
        return Look(content, str(error), topic, maps=maps)
    if asked.count_pixels:
        total += np.frombuffer(array("q", first.histogram()), dtype=np.int64).reshape(3, 256)
    thumbnail = first.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes() if asked.thumbnail else None
    return Look(content, size=first.size, thumbnail=thumbnail, maps=maps, counts=counts)


def _check_sizes(images: Sequence[Image.Image]) -> None:
    sizes = dict.fromkeys(f"{image.width}x{image.height}" for image in images)
    if len(sizes) > 1:
        raise ImageFault(f"images of different sizes: {' and '.join(sizes)} pixels")


def _annotated(values: Mapping[str, Any], image: Image.Image, terms: Terms) -> NDArray[np.int64] | None:
    """The pixels of each class, where an annotation has them. Raises ImageFault where one cannot be used."""
    counts = None
    for column, value in values.items():
        kind = KINDS[terms.kinds[column]]
        decoded = kind.decode(value)
        if fault := kind.fault(decoded, (image.height, image.width), terms.classes):
            raise ImageFault(fault)
        if kind.count and counts is None:
            counts = kind.count(decoded)
    return counts
