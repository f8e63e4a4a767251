"""Built-in three-digit numbers written with scikit-learn's handwritten digits: each number is an identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cvflow.annotations.image import encode_png
from cvflow.formats.built_in.glyph_layout import cover_of
from cvflow.formats.built_in.integer_stream import Draw, Ints
from cvflow.formats.built_in.scanned_digits import scans_by_split, split_of
from cvflow.formats.built_in.source import refuse_source
from cvflow.formats.record import Format, Record
from cvflow.registry import register
from cvflow.types import Split

HEIGHT = 16
PLACE = 14
"""Width of the place of a digit, pixels."""
DIGITS = 3
NUMBERS = 10**DIGITS


@register("format", "digit_identities")
class DigitIdentities(Format):
    """Grey images, 16 x 44. Of six numbers four are for training, one each for val and test.

    So val and test measure numbers that training never saw. No scan of a digit is in two splits either.
    Many numbers differ from each other only in the order of their digits.

    identities: how many numbers, drawn by the seed. images: how many of each number; each has other scans,
    turned and slanted, in another ink.
    """

    gives = frozenset({"identity"})
    built_in = True

    def __init__(
        self,
        source: Path | None,
        *,
        identities: Annotated[int, Field(ge=6, le=NUMBERS)] = 180,
        images: Annotated[int, Field(ge=2)] = 10,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        refuse_source(source, "numbers")
        self._images = images
        self._seed = seed
        self._splits: dict[str, Split] = {}
        for turn, number in enumerate(_shuffled_numbers(seed)[:identities]):
            name = str(number).zfill(DIGITS)
            self._splits[name] = split_of(turn)
        self.classes = tuple(sorted(self._splits))

    def __iter__(self) -> Iterator[Record]:
        for index, name in enumerate(self.classes):
            split = self._splits[name]
            for copy in range(self._images):
                id = f"{name}/{copy:02d}"
                images = {"image": partial(self._image, name, copy)}
                annotation = {"identity": index}
                yield Record(
                    id=id,
                    path=f"{id}.png",
                    images=images,
                    annotation=annotation,
                    split=split,
                    group=name,
                )

    @cached_property
    def _scans(self) -> dict[Split, dict[str, list[Ints]]]:
        """split -> digit -> its scans, 8x8 of 0..16."""
        digits_by_split: dict[Split, dict[str, list[Ints]]] = {}
        for split, scans in scans_by_split():
            by_digit = defaultdict(list)
            for glyph, name in zip(scans.glyphs, scans.names, strict=True):
                digit = str(name)
                by_digit[digit].append(glyph)
            digits_by_split[split] = by_digit
        return digits_by_split

    def _image(self, name: str, copy: int) -> bytes:
        draw = Draw(self._seed, int(name), copy)
        scans = self._scans[self._splits[name]]
        paper = draw.between(20, 90)
        canvas = np.full((HEIGHT, DIGITS * PLACE + 2), paper)
        ink = paper + draw.between(80, 160)
        for position, digit in enumerate(name):
            side = draw.between(11, PLACE)
            scan_number = draw.below(len(scans[digit]))
            scan = scans[digit][scan_number]
            cover = cover_of(scan, side, draw)
            top = draw.between(0, HEIGHT - side)
            left = 1 + PLACE * position
            left += draw.between(0, PLACE - side)
            region = canvas[top : top + side, left : left + side]
            region += (ink - region) * cover // 256
        noise = draw.bytes(*canvas.shape) - draw.bytes(*canvas.shape)
        amplitude = draw.between(8, 40)
        noisy = canvas + noise * amplitude // 256
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        return encode_png(pixels)


def _shuffled_numbers(seed: int) -> list[int]:
    draw = Draw(seed, NUMBERS)
    keys = [draw.below(2**62) for _ in range(NUMBERS)]
    return sorted(range(NUMBERS), key=keys.__getitem__)
