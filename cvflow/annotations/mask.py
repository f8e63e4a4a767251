"""The class of each pixel: uint8 HxW, an index of the classes or VOID; encoded as an 8-bit grey PNG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.annotations.image import ImageFault
from cvflow.ops.labels import VOID

MOST_LISTED = 3
"""The number of wrong values that a fault lists."""
Labels = NDArray[np.uint8]


def decode(data: bytes) -> Labels:
    """Return the labels, HxW. Raises ImageFault if the data is not an 8-bit PNG of one channel."""
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.mode != "L":
                raise ImageFault(f"a mask of mode {image.mode}, not of 8-bit indices")
            return np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageFault(f"an unreadable mask ({error})") from error


def encode(labels: Labels) -> bytes:
    """Return the bytes of a PNG. labels: HxW."""
    buffer = BytesIO()
    image = Image.fromarray(labels.astype(np.uint8))
    image.save(buffer, "PNG")
    return buffer.getvalue()


def count(labels: Labels) -> NDArray[np.int64]:
    """Return the number of pixels of each of the 256 values."""
    return np.bincount(labels.ravel(), minlength=256)


def fault(labels: Labels, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """Return what is wrong with the mask, or None. size: height and width of the image."""
    if labels.shape != size:
        mask_height, mask_width = labels.shape
        return f"a mask of {mask_width}x{mask_height} pixels for an image of {size[1]}x{size[0]}"
    counts = count(labels)
    # VOID is the largest value, so everything between the classes and it is wrong.
    wrong = np.flatnonzero(counts[len(classes) : VOID]) + len(classes)
    if not len(wrong):
        return None
    listed = ", ".join(f"{value} ({counts[value]:,} pixels)" for value in wrong[:MOST_LISTED])
    unlisted = len(wrong) - MOST_LISTED
    more = f" and {unlisted} more" if unlisted > 0 else ""
    last = len(classes) - 1
    return f"labels out of range in the mask: {listed}{more}; 0 to {last} are classes, {VOID} is void"
