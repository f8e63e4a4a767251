"""What lies in an image, drawn on it: labelled pixels in the colours of Pascal VOC, a box with its name."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cvflow.draw.images import Array
from cvflow.ops.labels import VOID

OPACITY = 0.55
EDGE = (255, 64, 48)
LEAST_TEXT = 10
"""Height of a name in pixels; of larger images a twentieth."""


def palette() -> Array:
    """256x3 uint8: bit k of a label is spread over bit 7 - k/3 of red, green and blue in turn (the development kit of Pascal VOC)."""
    labels, colours = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


PALETTE = palette()


def rgb(pixels: Array) -> Array:
    """HxWxC uint8, C 1 or 3 -> HxWx3."""
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2)


def overlaid(pixels: Array, labels: Array, clear: Collection[int] = ()) -> Array:
    """labels: HxW class indices. clear: classes that leave the image as it is, as void always does.

    The colours are Pascal VOC's, whose class 0 is a background in black; where it is no background, each class has the next one's.
    """
    image, colours = (
        rgb(pixels).astype(np.float32),
        (PALETTE if 0 in clear else np.roll(PALETTE, -1, axis=0))[labels].astype(np.float32),
    )
    shown = ~np.isin(labels, [VOID, *clear])[..., None]
    return np.where(shown, (1 - OPACITY) * image + OPACITY * colours, image).round().astype(np.uint8)


def boxed(pixels: Array, box: Array | list[float], name: str) -> Array:
    """box: xyxy, pixels."""
    image = Image.fromarray(np.ascontiguousarray(rgb(pixels)))
    pen, thick = ImageDraw.Draw(image), max(1, round(min(image.size) / 120))
    left, top, right, bottom = (float(edge) for edge in box)
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=EDGE, width=thick)
    font = ImageFont.load_default(max(LEAST_TEXT, min(image.size) // 20))
    at = (left + thick, max(0.0, top - font.getbbox(name)[3] - 1))
    pen.rectangle(pen.textbbox(at, name, font=font), fill=EDGE)
    pen.text(at, name, fill="white", font=font)
    return np.asarray(image)
