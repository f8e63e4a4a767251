"""Built-in scenes of scikit-learn's handwritten digits over textures and clutter, made as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from cvflow.annotations import mask
from cvflow.annotations.image import encode_png
from cvflow.formats.built_in.digit_painting import picture_of
from cvflow.formats.built_in.glyph_layout import Placed, box_of, mask_of, place
from cvflow.formats.built_in.integer_stream import Draw, Ints
from cvflow.formats.built_in.scanned_digits import Scans, scans_by_split, split_of
from cvflow.formats.built_in.source import refuse_source
from cvflow.formats.record import Format, Record
from cvflow.registry import register
from cvflow.types import Split

Count = Annotated[int, Field(ge=6)]
Size = Annotated[int, Field(ge=32, le=1024)]
Seed = Annotated[int, Field(ge=0)]
Clutter = Annotated[int, Field(ge=0, le=50)]
Names = Annotated[tuple[Annotated[int, Field(ge=0, le=9)], ...], Field(min_length=1)]
ALL = tuple(range(10))


class Digits(NamedTuple):
    """The digits of one split that scenes are made from.

    glyphs: 8x8 of 0..16 each. names: which digit each is. torn: the glyphs that clutter is made of.
    """

    glyphs: list[Ints]
    names: list[int]
    torn: list[Ints]


class Scenes(Format):
    """The digits, numbers, ids and splits of scenes, for both formats of scenes."""

    built_in = True

    def __init__(
        self, source: Path | None, count: int, size: int, seed: int, digits: tuple[int, ...], clutter: int
    ) -> None:
        refuse_source(source, "scenes")
        self._count = count
        self._size = size
        self._seed = seed
        self._clutter = clutter
        self._names = tuple(sorted(set(digits)))

    @cached_property
    def _digits(self) -> dict[Split, Digits]:
        digits = {}
        for split, scans in scans_by_split():
            digits[split] = self._select(scans)
        return digits

    def _select(self, scans: Scans) -> Digits:
        selected = Digits([], [], [])
        for glyph, name in zip(scans.glyphs, scans.names, strict=True):
            if name in self._names:
                selected.glyphs.append(glyph)
                selected.names.append(name)
            # The halves of a 1 are strokes like a 1, so it is never torn.
            if name != 1:
                selected.torn.append(glyph)
        return selected

    def _scenes(self) -> Iterator[tuple[int, str, Split]]:
        for number in range(self._count):
            name = f"scene-{number:05d}"
            yield number, name, split_of(number)

    def _picture(self, number: int, split: Split, placed: list[Placed]) -> bytes:
        draw = Draw(self._seed, number, 1)
        torn = self._digits[split].torn
        pixels = picture_of(placed, torn, self._clutter, self._size, draw)
        return encode_png(pixels)


@register("format", "digit_scenes")
class DigitScenes(Scenes):
    """Scenes of several digits with a mask: 0 = background, then the digits; 255 where two digits touch.

    No digit is in two splits; of six scenes four are for training, one each for val and test.
    count: number of scenes. size: side in pixels. digits: which digits there are.
    most: the most digits a scene; each has at least two. clutter: the most strokes and torn digits a scene.
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
        super().__init__(
            source,
            count=count,
            size=size,
            seed=seed,
            digits=digits,
            clutter=clutter,
        )
        self._most = most
        names = map(str, self._names)
        self.classes = ("background", *names)

    def __iter__(self) -> Iterator[Record]:
        for number, name, split in self._scenes():
            images = {"image": partial(self._image, number, split)}
            maps = {"mask": partial(self._mask, number, split)}
            yield Record(
                id=name,
                path=f"{name}.png",
                images=images,
                annotation={},
                split=split,
                maps=maps,
            )

    def _placed(self, number: int, split: Split) -> list[Placed]:
        draw = Draw(self._seed, number, 0)
        count = draw.between(2, self._most)
        return place(
            self._digits[split].glyphs,
            self._size,
            draw,
            count,
            least=self._size // 4,
            most=self._size * 5 // 8,
        )

    def _image(self, number: int, split: Split) -> bytes:
        placed = self._placed(number, split)
        return self._picture(number, split, placed)

    def _mask(self, number: int, split: Split) -> bytes:
        values = []
        for digit in self._digits[split].names:
            values.append(self.classes.index(str(digit)))
        placed = self._placed(number, split)
        labels = mask_of(placed, values, self._size)
        return mask.encode(labels)


@register("format", "digit_boxes")
class DigitBoxes(Scenes):
    """Scenes of one digit with its box, among strokes and torn digits that do not count.

    No digit is in two splits; of six scenes four are for training, one each for val and test.
    count: number of scenes. size: side in pixels. digits: which digits there are.
    clutter: the most strokes and torn digits a scene.
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
        super().__init__(
            source,
            count=count,
            size=size,
            seed=seed,
            digits=digits,
            clutter=clutter,
        )
        self.classes = tuple(map(str, self._names))

    def __iter__(self) -> Iterator[Record]:
        for number, name, split in self._scenes():
            placed = self._placed(number, split)
            digit = self._digits[split].names[placed.number]
            annotation = {
                "label": self._names.index(digit),
                "box": box_of(placed),
            }
            images = {"image": partial(self._image, number, split)}
            yield Record(
                id=name,
                path=f"{name}.png",
                images=images,
                annotation=annotation,
                split=split,
            )

    def _placed(self, number: int, split: Split) -> Placed:
        draw = Draw(self._seed, number, 0)
        # In an empty scene the first try succeeds, so there is always one.
        (placed,) = place(
            self._digits[split].glyphs,
            self._size,
            draw,
            count=1,
            least=self._size * 3 // 8,
            most=self._size * 4 // 5,
        )
        return placed

    def _image(self, number: int, split: Split) -> bytes:
        placed = self._placed(number, split)
        return self._picture(number, split, [placed])
