"""A look at the images of one record: can they be used, and what is counted of them.

Worker processes import this file: it must not bring in torch.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import warnings
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.data.images import ImageFault, read

Histogram = NDArray[np.int64]
"""3 x 256: per channel (RGB), how many pixels have each value."""

THUMBNAIL = 8
"""Side of the thumbnails by which images are compared, pixels. 8 x 8 x 3 products of bytes add up exactly in float32."""


class Asked(NamedTuple):
    """One record's encoded images, and what is wanted. fault: why they could not be read."""

    images: Sequence[bytes]
    count_pixels: bool
    thumbnail: bool
    fault: str | None = None


@dataclass(frozen=True)
class Look:
    """content: hash of the images' bytes. fault: why they cannot be used, if so. size: width and height of the first image.

    thumbnail: RGB bytes, where one was asked for.
    """

    content: bytes
    fault: str | None = None
    size: tuple[int, int] | None = None
    thumbnail: bytes | None = None


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


def look_at(asked: Sequence[Asked], max_megapixels: float) -> tuple[list[Look], Histogram]:
    """A look at each, and the sum of the histograms that were asked for, of first images."""
    total = np.zeros((3, 256), dtype=np.int64)
    looks = [_look(one, max_megapixels, total) for one in asked]
    return looks, total


def _look(asked: Asked, max_megapixels: float, total: Histogram) -> Look:
    content = hashlib.blake2b(b"".join(asked.images), digest_size=16).digest()
    if asked.fault:
        return Look(content, asked.fault)
    try:
        first, *_ = [read(data, "RGB", max_megapixels) for data in asked.images]
    except ImageFault as error:
        return Look(content, str(error))
    if asked.count_pixels:
        total += np.frombuffer(array("q", first.histogram()), dtype=np.int64).reshape(3, 256)
    thumbnail = first.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes() if asked.thumbnail else None
    return Look(content, None, first.size, thumbnail)
