"""The inspection of one record's images and the annotations in them: can they be used, and what is counted.

Worker processes import this file: it must not bring in torch.
"""

from __future__ import annotations

import hashlib
import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.annotations import KINDS
from cvflow.annotations.image import ImageFault, read
from cvflow.child_process import end_with_parent, leave_ctrl_c_to_parent

Histogram = NDArray[np.int64]
"""3 x 256: per channel (RGB), how many pixels have each value."""

THUMBNAIL = 8
"""Side in pixels of the thumbnails by which images are compared.

The products of bytes of 8 x 8 x 3 values add up exactly in float32.
"""

UNREADABLE = "unreadable"
"""The topic of faults of images."""
MISANNOTATED = "wrong annotation"
"""The topic of faults of annotations."""


class Encoded(NamedTuple):
    """One record's encoded images and annotations, and what to do with them.

    fault: why they could not be read, if so; topic: of the fault; column: the one at fault.
    values: of the annotations that lie in the pixels.
    """

    images: Mapping[str, bytes]
    count_pixels: bool
    thumbnail: bool
    fault: str | None = None
    topic: str = UNREADABLE
    column: str = ""
    values: Mapping[str, Any] = {}


class Rules(NamedTuple):
    """The rules by which records are judged. kinds: annotation -> its kind. classes: their names."""

    max_megapixels: float
    kinds: Mapping[str, str] = {}
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Inspection:
    """The result for one record.

    content: hash of the images' bytes. fault: why they cannot be used, if so; topic: of the fault;
    column: the image or annotation at fault. size: width and height of the first image.
    thumbnail: RGB bytes, if one was requested. maps: hash of the annotations' bytes, if there are any.
    counts: of the first annotation with classes in its pixels, how many pixels have each value (256).
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
    """Set up a worker process; the pool calls this before anything else."""
    leave_ctrl_c_to_parent()
    warnings.simplefilter("ignore")
    end_with_parent()


def inspect_all(records: Sequence[Encoded], rules: Rules) -> tuple[list[Inspection], Histogram]:
    """Return an inspection of each record, and the sum of the requested histograms of first images."""
    total = np.zeros((3, 256), dtype=np.int64)
    inspections = [_inspect(record, rules, total) for record in records]
    return inspections, total


def _inspect(record: Encoded, rules: Rules, total: Histogram) -> Inspection:
    """Return the inspection of one record; its histogram is added to ``total``."""
    content = _hash(record.images.values())
    encoded = [value for value in record.values.values() if isinstance(value, bytes)]
    maps = _hash(encoded) if encoded else b""
    if record.fault:
        return Inspection(content, record.fault, record.topic, record.column, maps=maps)
    images: list[Image.Image] = []
    counts: NDArray[np.int64] | None = None
    # A fault is reported with the column and topic that were being worked on.
    column = ""
    topic = UNREADABLE
    try:
        for column in record.images:
            images.append(read(record.images[column], "RGB", rules.max_megapixels))
        _check_sizes(images)
        topic = MISANNOTATED
        for column in record.values:
            column_counts = _counts(record.values[column], rules.kinds[column], images[0], rules.classes)
            if counts is None:
                counts = column_counts
    except ImageFault as error:
        return Inspection(content, str(error), topic, column, maps=maps)
    first = images[0]
    if record.count_pixels:
        total += _histogram(first)
    thumbnail = _thumbnail(first) if record.thumbnail else None
    return Inspection(content, size=first.size, thumbnail=thumbnail, maps=maps, counts=counts)


def _hash(contents: Iterable[bytes]) -> bytes:
    """Return the hash of the joined contents, 16 bytes."""
    joined = b"".join(contents)
    return hashlib.blake2b(joined, digest_size=16).digest()


def _histogram(image: Image.Image) -> Histogram:
    counts = array("q", image.histogram())
    return np.frombuffer(counts, dtype=np.int64).reshape(3, 256)


def _thumbnail(image: Image.Image) -> bytes:
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return small.tobytes()


def _check_sizes(images: Sequence[Image.Image]) -> None:
    """Raise ImageFault if the images differ in size."""
    sizes: list[str] = []
    for image in images:
        size = f"{image.width}x{image.height}"
        if size not in sizes:
            sizes.append(size)
    if len(sizes) > 1:
        raise ImageFault(f"images of different sizes: {' and '.join(sizes)} pixels")


def _counts(
    value: Any, kind_name: str, image: Image.Image, classes: Sequence[str]
) -> NDArray[np.int64] | None:
    """Return the pixels of each value of an annotation; None if it is no map.

    Raises ImageFault if the annotation cannot be used.
    """
    kind = KINDS[kind_name]
    decoded = kind.decode(value)
    size = (image.height, image.width)
    fault = kind.fault(decoded, size, classes)
    if fault:
        raise ImageFault(fault)
    return kind.count(decoded) if kind.count else None
