"""Scenes of scikit-learn's handwritten digits over textures and clutter, with their masks or boxes: built in, made as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from cvflow.annotations import mask
from cvflow.annotations.image import encode_png
from cvflow.errors import Fault, RequestError
from cvflow.formats.built_in.digit_painting import Draw, Ints, Placed, box_of, mask_of, picture_of, place
from cvflow.formats.record import Format, Record
from cvflow.registry import register
from cvflow.types import Split

TURNS: tuple[Split, ...] = ("train", "train", "train", "train", "val", "test")
"""The splits of scenes 0, 1, 2, ... and so on again."""
FIRST: dict[Split, int] = {"train": 0, "val": 1197, "test": 1497}
"""The digits of a split: from this one up to the next split's. Neighbours are mostly of one writer."""
Count = Annotated[int, Field(ge=6)]
Size = Annotated[int, Field(ge=32, le=1024)]
Seed = Annotated[int, Field(ge=0)]
Clutter = Annotated[int, Field(ge=0, le=50)]
Names = Annotated[tuple[Annotated[int, Field(ge=0, le=9)], ...], Field(min_length=1)]
ALL = tuple(range(10))


class Digits(NamedTuple):
    """Of one split: 8x8 of 0..16 each, and which digit it is. torn: what clutter is made of; halves of a 1 are strokes like a 1."""

    glyphs: list[Ints]
    names: list[int]
    torn: list[Ints]


class Scenes(Format):
    """What the two formats share: which digits there are, and the scenes' numbers, ids and splits."""

    built_in = True

    def __init__(
        self, source: Path | None, count: int, size: int, seed: int, digits: tuple[int, ...], clutter: int
    ) -> None:
        if source is not None:
            raise RequestError(
                Fault("data.source", str(source), "no source: the scenes are built in", "Remove data.source.")
            )
        self._count, self._size, self._seed, self._clutter = count, size, seed, clutter
        self._names = tuple(sorted(set(digits)))

    @cached_property
    def _digits(self) -> dict[Split, Digits]:
        from sklearn.datasets import (
            load_digits,  # here, so that naming the formats does not import scikit-learn
        )

        data, ends = load_digits(), [*list(FIRST.values())[1:], None]
        found = {}
        for (split, first), end in zip(FIRST.items(), ends, strict=True):
            glyphs, names = data.images[first:end].astype(np.int64), data.target[first:end].tolist()
            wanted = [i for i, name in enumerate(names) if name in self._names]
            torn = [glyph for glyph, name in zip(glyphs, names, strict=True) if name != 1]
            found[split] = Digits([glyphs[i] for i in wanted], [names[i] for i in wanted], torn)
        return found

    def _scenes(self) -> Iterator[tuple[int, str, Split]]:
        for i in range(self._count):
            yield i, f"scene-{i:05d}", TURNS[i % len(TURNS)]

    def _picture(self, number: int, split: Split, placed: list[Placed]) -> bytes:
        draw = Draw(self._seed, number, 1)
        return encode_png(picture_of(placed, self._digits[split].torn, self._clutter, self._size, draw))


@register("format", "digit_scenes")
class DigitScenes(Scenes):
    """Several digits a scene and a mask: 0 = background, then the digits; 255 where one has its border on another.

    No digit is in two splits; four scenes of six are for training, one each for val and test. count: scenes. size: side in pixels.
    digits: which there are. most: digits a scene; no less than two. clutter: strokes and torn digits a scene, at most.
    """

    gives = frozenset({"mask"})

    def __init__(
        self,
        source: Path | None,
        *,
        count: Count = 1500,
        size: Size = 96,
        seed: Seed = 0,
        digits: Names = ALL,
        most: Annotated[int, Field(ge=2, le=50)] = 5,
        clutter: Clutter = 5,
    ) -> None:
        super().__init__(source, count, size, seed, digits, clutter)
        self._most = most
        self.classes = ("background", *map(str, self._names))

    def __iter__(self) -> Iterator[Record]:
        for number, name, split in self._scenes():
            images, maps = (
                {"image": partial(self._image, number, split)},
                {"mask": partial(self._mask, number, split)},
            )
            yield Record(name, f"{name}.png", images, {}, split, maps=maps)

    def _placed(self, number: int, split: Split) -> list[Placed]:
        draw = Draw(self._seed, number, 0)
        return place(
            self._digits[split].glyphs,
            self._size,
            draw,
            draw.between(2, self._most),
            self._size // 4,
            self._size * 5 // 8,
        )

    def _image(self, number: int, split: Split) -> bytes:
        return self._picture(number, split, self._placed(number, split))

    def _mask(self, number: int, split: Split) -> bytes:
        values = [1 + self._names.index(name) for name in self._digits[split].names]
        return mask.encode(mask_of(self._placed(number, split), values, self._size))


@register("format", "digit_boxes")
class DigitBoxes(Scenes):
    """One digit a scene with its box, among strokes and torn digits that are none.

    No digit is in two splits; four scenes of six are for training, one each for val and test. count: scenes. size: side in pixels.
    digits: which there are. clutter: strokes and torn digits a scene, at most.
    """

    gives = frozenset({"label", "box"})

    def __init__(
        self,
        source: Path | None,
        *,
        count: Count = 1500,
        size: Size = 96,
        seed: Seed = 0,
        digits: Names = ALL,
        clutter: Clutter = 3,
    ) -> None:
        super().__init__(source, count, size, seed, digits, clutter)
        self.classes = tuple(map(str, self._names))

    def __iter__(self) -> Iterator[Record]:
        for number, name, split in self._scenes():
            placed = self._placed(number, split)
            annotation = {
                "label": self._names.index(self._digits[split].names[placed.number]),
                "box": box_of(placed),
            }
            yield Record(
                name, f"{name}.png", {"image": partial(self._image, number, split)}, annotation, split
            )

    def _placed(self, number: int, split: Split) -> Placed:
        least, most = self._size * 3 // 8, self._size * 4 // 5
        (placed,) = place(self._digits[split].glyphs, self._size, Draw(self._seed, number, 0), 1, least, most)
        return placed

    def _image(self, number: int, split: Split) -> bytes:
        return self._picture(number, split, [self._placed(number, split)])
