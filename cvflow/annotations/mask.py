"""The class of each pixel: uint8 HxW, an index of the classes or VOID; encoded as an 8-bit grey PNG of the indices."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.annotations.image import ImageFault
from cvflow.ops.labels import VOID

NAMED = 3
"""Wrong values that a fault lists."""
Labels = NDArray[np.uint8]


def decode(data: bytes) -> Labels:
    """HxW. Raises ImageFault where this is no 8-bit PNG of one channel."""
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.mode != "L":
                raise ImageFault(f"a mask of mode {image.mode}, not of 8-bit indices")
            return np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageFault(f"an unreadable mask ({error})") from error


def encode(labels: Labels) -> bytes:
    """labels: HxW."""
    buffer = BytesIO()
    Image.fromarray(labels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def count(labels: Labels) -> NDArray[np.int64]:
    """256, the pixels of each value."""
    return np.bincount(labels.ravel(), minlength=256)


def fault(labels: Labels, size: tuple[int, int], classes: Sequence[str]) -> str | None:
    """size: of the image."""
    if labels.shape != size:
        return f"a mask of {labels.shape[1]}x{labels.shape[0]} pixels for an image of {size[1]}x{size[0]}"
    counts = count(labels)
    wrong = [int(value) for value in np.flatnonzero(counts[:VOID]) if value >= len(classes)]
    if not wrong:
        return None
    first = ", ".join(f"{value} ({counts[value]:,} pixels)" for value in wrong[:NAMED])
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return (
        f"labels out of range in the mask: {first}{more}; 0 to {len(classes) - 1} are classes, {VOID} is void"
    )
