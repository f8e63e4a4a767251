"""Three-digit numbers written with scikit-learn's handwritten digits: each number an identity, built in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cvflow.annotations.image import encode_png
from cvflow.errors import Fault, RequestError
from cvflow.formats.built_in.digit_painting import Draw, Ints, cover_of
from cvflow.formats.built_in.digit_scenes import FIRST, TURNS
from cvflow.formats.record import Format, Record
from cvflow.registry import register
from cvflow.types import Split

HEIGHT, PLACE, DIGITS = 16, 14, 3
"""Pixels of an image, and of the room that a digit has; digits of a number."""
NUMBERS = 10**DIGITS


@register("format", "digit_identities")
class DigitIdentities(Format):
    """Grey images, 16 x 44. Of six numbers four are for training, one each for val and test, so that what is measured are
    numbers never seen, in digits that were never seen: no scan is in two splits. Only the order of the digits tells many apart.

    identities: numbers, drawn by the seed. images: of each number, every time with other scans, turned and slanted, in other ink.
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
        if source is not None:
            raise RequestError(
                Fault(
                    "data.source", str(source), "no source: the numbers are built in", "Remove data.source."
                )
            )
        self._images, self._seed = images, seed
        draw = Draw(seed, NUMBERS)
        drawn = sorted(range(NUMBERS), key=lambda _: draw.below(2**62))[:identities]
        self._splits = {f"{number:0{DIGITS}}": TURNS[turn % len(TURNS)] for turn, number in enumerate(drawn)}
        self.classes = tuple(sorted(self._splits))

    def __iter__(self) -> Iterator[Record]:
        for index, name in enumerate(self.classes):
            for copy in range(self._images):
                id = f"{name}/{copy:02d}"
                yield Record(
                    id,
                    f"{id}.png",
                    {"image": partial(self._image, name, copy)},
                    {"identity": index},
                    self._splits[name],
                    name,
                )

    @cached_property
    def _scans(self) -> dict[Split, dict[str, list[Ints]]]:
        """split -> digit -> its scans, 8x8 of 0..16."""
        from sklearn.datasets import (
            load_digits,  # here, so that naming the formats does not import scikit-learn
        )

        data, ends = load_digits(), [*list(FIRST.values())[1:], None]
        parts = {split: slice(first, end) for (split, first), end in zip(FIRST.items(), ends, strict=True)}
        images, target = data.images.astype(np.int64), data.target
        return {
            split: {str(d): list(images[part][target[part] == d]) for d in range(10)}
            for split, part in parts.items()
        }

    def _image(self, name: str, copy: int) -> bytes:
        draw, scans = Draw(self._seed, int(name), copy), self._scans[self._splits[name]]
        canvas = np.full((HEIGHT, DIGITS * PLACE + 2), draw.between(20, 90))
        ink = int(canvas[0, 0]) + draw.between(80, 160)
        for place, digit in enumerate(name):
            side = draw.between(11, PLACE)
            cover = cover_of(scans[digit][draw.below(len(scans[digit]))], side, draw)
            top, left = draw.between(0, HEIGHT - side), 1 + PLACE * place + draw.between(0, PLACE - side)
            there = canvas[top : top + side, left : left + side]
            there += (ink - there) * cover // 256
        noise = (draw.bytes(*canvas.shape) - draw.bytes(*canvas.shape)) * draw.between(8, 40) // 256
        return encode_png(np.clip(canvas + noise, 0, 255).astype(np.uint8))
