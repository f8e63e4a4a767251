"""A picture with a line of text below it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cvflow.draw.images import Array

LEAST_WIDTH, TEXT, MARGIN = 192, 15, 6
"""Pixels: narrower images are enlarged by a whole factor; the text's height; around it."""


def captioned(pixels: Array, text: str) -> Array:
    """HxWxC uint8, C 1 or 3 -> RGB, with a dark bar below that carries the text; what does not fit the width is cut off."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    factor = -(-LEAST_WIDTH // image.width)
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    page = Image.new("RGB", (image.width, image.height + TEXT + 2 * MARGIN), (28, 30, 34))
    page.paste(image)
    ImageDraw.Draw(page).text(
        (MARGIN, image.height + MARGIN - 1), text, fill="white", font=ImageFont.load_default(TEXT - 1)
    )
    return np.asarray(page)
