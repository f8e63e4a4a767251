"""Which value or colour of a mask's pixel is which class."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from cvflow.annotations.image import ImageFault
from cvflow.annotations.mask import Labels
from cvflow.errors import Fault, RequestError
from cvflow.ops.labels import VOID

Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]
Legend = Mapping[str, Colour]
VOID_NAMES = ("void", "ignore", "ignored", "unlabeled", "unlabelled")
"""Classes that count for nothing, wherever they are named."""
_VALUES = 1 << 16
"""Values that a mask of 16 bits can have."""
_NAMED = 3
"""Values or colours that a fault names."""
_MOST_FAULTS = 20
_SEPARATORS = re.compile(r"[\s,:;]+")


class Reading(Protocol):
    """How masks are read. classes: without those that are void."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def labels(self, image: Image.Image) -> Labels:
        """Return HxW, class indices or VOID. Raises ImageFault if a pixel has no class."""
        ...


@dataclass(frozen=True)
class ByIndex:
    """Masks of indices. index: value in a mask -> class index, or VOID."""

    classes: tuple[str, ...]
    index: Mapping[int, int]

    def labels(self, image: Image.Image) -> Labels:
        values = values_of(image)
        table = np.full(_VALUES, -1, dtype=np.int16)
        for value, index in self.index.items():
            table[value] = index
        labels = table[values]
        unknown = values[labels < 0]
        if unknown.size:
            _refuse("values that are no class", unknown, str)
        return labels.astype(np.uint8)


@dataclass(frozen=True)
class ByColour:
    """Masks of colours.

    index: packed colour -> class index, or VOID. grey: how grey masks are read, as indices in the
    legend's order; None if the legend itself is grey.
    """

    classes: tuple[str, ...]
    index: Mapping[int, int]
    grey: ByIndex | None

    def labels(self, image: Image.Image) -> Labels:
        if self.grey and image.mode in ("1", "L", "I;16", "I"):
            return self.grey.labels(image)
        if image.mode in ("I;16", "I"):
            raise ImageFault("a mask of 16 bits where the legend has greys of 8")
        colours = _packed_pixels(image)
        legend = np.array(sorted(self.index), dtype=np.int32)
        # A colour above the greatest of the legend gets the last place, and differs from it.
        places = np.searchsorted(legend, colours).clip(max=len(legend) - 1)
        unknown = colours[legend[places] != colours]
        if unknown.size:
            _refuse("colours that are not in the legend", unknown, _unpacked)
        class_of_place = [self.index[colour] for colour in legend.tolist()]
        labels: Labels = np.array(class_of_place, dtype=np.uint8)[places]
        return labels


def by_index(values: Sequence[int], names: Sequence[str], void: Collection[int | str]) -> ByIndex:
    """Return how masks of indices are read.

    values: of the classes in a mask, in order. void: values or names of those that count for nothing;
    VOID and VOID_NAMES always do.
    """
    classes: list[str] = []
    index = {VOID: VOID}
    for value in void:
        if isinstance(value, int):
            index[value] = VOID
    for value, name in zip(values, names, strict=True):
        if value == VOID or value in void or _is_void(name, void):
            index[value] = VOID
        else:
            index[value] = len(classes)
            classes.append(name)
    return ByIndex(tuple(classes), index)


def by_colour(legend: Legend, void: Collection[int | str]) -> ByColour:
    """Return how masks of colours are read; RequestError if two classes have one colour."""
    names = list(legend)
    grey = by_index(range(len(names)), names, void)
    index: dict[int, int] = {}
    for value, (name, colour) in enumerate(legend.items()):
        packed = _packed(colour)
        if packed in index:
            got = f"the colour {list(colour)} of '{name}' again"
            raise RequestError(Fault("data.format.legend", got, "a colour for each class"))
        index[packed] = grey.index[value]
    if all(map(_is_grey, legend.values())):
        return ByColour(grey.classes, index, None)
    return ByColour(grey.classes, index, grey)


def values_of(image: Image.Image) -> NDArray[np.int64]:
    """Return HxW, 0..65535. Raises ImageFault if the pixels are colours."""
    if image.mode in ("RGB", "RGBA"):
        return _grey_values(image)
    if image.mode in ("LA", "PA", "La"):
        return np.asarray(image)[..., 0].astype(np.int64)
    if image.mode not in ("1", "L", "P", "I", "I;16"):
        raise ImageFault(f"a mask with pixels of mode {image.mode}, which are no indices")
    values = np.asarray(image).astype(np.int64)
    least = values.min()
    greatest = values.max()
    if least < 0 or greatest >= _VALUES:
        raise ImageFault(f"a mask with values from {least} to {greatest}, outside 16 bits")
    return values


def parse(lines: Iterable[str], name: str) -> Legend:
    """Return the legend of a file; RequestError names each wrong line.

    A line for each class: its name and R, G, B, in either order, between commas, colons or blanks. A
    header is passed over. name: of the file.
    """
    legend: dict[str, Colour] = {}
    faults = []
    for number, line in enumerate(lines, 1):
        label, colour = _parse_line(line)
        if colour and label and label not in legend:
            legend[label] = colour
            continue
        is_header = number == 1 and colour is None
        is_empty = not label and colour is None
        if is_header or is_empty or line.startswith(("#", "//")):
            continue
        got = f"'{label}' again" if colour and label else f"'{line.strip()}'"
        expected = "a name and three numbers from 0 to 255, as in: road, 128, 64, 128"
        faults.append(Fault(f"{name}:{number}", got, expected))
    if not legend and not faults:
        expected = "a line for each: a name and three numbers from 0 to 255"
        faults.append(Fault(name, "no class", expected))
    if faults:
        raise RequestError(*faults[:_MOST_FAULTS])
    return legend


def _is_void(name: str, void: Collection[int | str]) -> bool:
    if name in void:
        return True
    return name.lower() in VOID_NAMES


def _is_grey(colour: Colour) -> bool:
    return len(set(colour)) == 1


def _packed(colour: Colour) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def _unpacked(packed: int) -> str:
    red = packed >> 16
    green = packed >> 8 & 255
    blue = packed & 255
    return f"[{red}, {green}, {blue}]"


def _packed_pixels(image: Image.Image) -> NDArray[np.int32]:
    """Return HxW, the packed colours."""
    pixels = np.asarray(image.convert("RGB"))
    channels = np.moveaxis(pixels.astype(np.int32), 2, 0)
    red, green, blue = channels
    return np.asarray(red << 16 | green << 8 | blue)


def _grey_values(image: Image.Image) -> NDArray[np.int64]:
    """Return HxW of an image with three equal channels. Raises ImageFault if they differ."""
    pixels = np.asarray(image)[..., :3]
    first = pixels[..., :1]
    if (pixels == first).all():
        return first[..., 0].astype(np.int64)
    colours = np.unique(pixels.reshape(-1, 3), axis=0)
    text = ", ".join(map(str, colours[:_NAMED].tolist()))
    more = ", ..." if len(colours) > _NAMED else ""
    raise ImageFault(f"colours ({len(colours)}: {text}{more}) where there is no legend")


def _parse_line(line: str) -> tuple[str, Colour | None]:
    """Return the name and the colour of a line; all of its words and None if it has no colour."""
    text = line.strip().strip('"')
    words = [word for word in _SEPARATORS.split(text) if word]
    for start in range(len(words) - 2):
        colour = _colour(words[start : start + 3])
        if colour:
            # The name comes first, or else after the colour.
            label = words[:start] or words[start + 3 :]
            return " ".join(label), colour
    return " ".join(words), None


def _colour(words: Sequence[str]) -> Colour | None:
    """Return three numbers of 0..255, or None if the words are others."""
    if not all(map(str.isdecimal, words)):
        return None
    red, green, blue = map(int, words)
    if max(red, green, blue) > 255:
        return None
    return red, green, blue


def _refuse(what: str, unknown: NDArray[np.integer], name: Callable[[int], str]) -> NoReturn:
    """Raise ImageFault with the most frequent of the unknown pixels."""
    values, counts = np.unique(unknown, return_counts=True)
    ordered = sorted(zip(counts.tolist(), values.tolist(), strict=True), reverse=True)
    parts = []
    for count, value in ordered[:_NAMED]:
        parts.append(f"{name(value)} ({count:,} pixels)")
    text = ", ".join(parts)
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    raise ImageFault(f"{what}: {text}{more}")
