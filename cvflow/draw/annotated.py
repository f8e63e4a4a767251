"""Annotations drawn on an image: labelled pixels in the colours of Pascal VOC, a box with its name."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cvflow.draw.images import Array, rgb
from cvflow.ops.labels import VOID

OPACITY = 0.55
EDGE = (255, 64, 48)
LEAST_TEXT = 10
"""Least height of a name in pixels; on larger images it is a twentieth of the shorter side."""


def palette() -> Array:
    """Return 256x3 uint8, the colour of each label, as Pascal VOC's development kit computes them.

    Bit k of a label becomes bit 7 - k//3 of red, green or blue, in turn.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            label_bit = (labels >> (3 * bit + channel)) & 1
            colours[:, channel] |= (label_bit << (7 - bit)).astype(np.uint8)
    return colours


PALETTE = palette()


def overlaid(pixels: Array, labels: Array, clear: Collection[int] = ()) -> Array:
    """Return the image with its labels as transparent colours.

    labels: HxW class indices. clear: classes that leave the image as it is; void always does.
    """
    palette = PALETTE
    if 0 not in clear:
        # Pascal VOC's class 0 is a background, in black. Without a background each class has the
        # colour of the next one.
        palette = np.roll(PALETTE, -1, axis=0)
    image = rgb(pixels).astype(np.float32)
    colours = palette[labels].astype(np.float32)
    coloured = ~np.isin(labels, [VOID, *clear])
    blend = (1 - OPACITY) * image + OPACITY * colours
    drawn = np.where(coloured[..., None], blend, image)
    return drawn.round().astype(np.uint8)


def boxed(pixels: Array, box: Array | list[float], name: str) -> Array:
    """Return the image with a box and its name. box: xyxy, pixels."""
    image = Image.fromarray(np.ascontiguousarray(rgb(pixels)))
    pen = ImageDraw.Draw(image)
    shorter = min(image.size)
    width = max(1, round(shorter / 120))
    left, top, right, bottom = map(float, box)
    # Box edges lie between pixels, a drawn line on them: the last pixels are one before.
    outline = (left, top, max(left, right - 1), max(top, bottom - 1))
    pen.rectangle(outline, outline=EDGE, width=width)
    font = ImageFont.load_default(max(LEAST_TEXT, shorter // 20))
    text_bottom = font.getbbox(name)[3]
    text_top = max(0.0, top - text_bottom - 1)
    position = (left + width, text_top)
    pen.rectangle(pen.textbbox(position, name, font=font), fill=EDGE)
    pen.text(position, name, fill="white", font=font)
    return np.asarray(image)
