"""A picture with a line of text below it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cvflow.draw.images import Array, rgb

LEAST_WIDTH = 192
"""Narrower images are enlarged by an integer factor, pixels."""
TEXT = 15
"""Height of the text, pixels."""
MARGIN = 6
"""Space around the text, pixels."""
BAR = (28, 30, 34)


def captioned(pixels: Array, text: str) -> Array:
    """Return an RGB image with a dark bar below it that carries the text.

    pixels: HxWxC uint8, C 1 or 3. Text that is wider than the image is cut off.
    """
    image = Image.fromarray(rgb(pixels))
    # An integer factor, so that every pixel stays a square.
    factor = math.ceil(LEAST_WIDTH / image.width)
    width = image.width * factor
    height = image.height * factor
    image = image.resize((width, height), Image.Resampling.NEAREST)
    bar_height = TEXT + 2 * MARGIN
    page = Image.new("RGB", (width, height + bar_height), BAR)
    page.paste(image)
    font = ImageFont.load_default(TEXT - 1)
    position = (MARGIN, height + MARGIN - 1)
    ImageDraw.Draw(page).text(position, text, fill="white", font=font)
    return np.asarray(page)
