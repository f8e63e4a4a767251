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

Colour = tuple[
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
]
Legend = Mapping[str, Colour]
VOID_NAMES = ("void", "ignore", "ignored", "unlabeled", "unlabelled")
"""Classes that are void wherever they are named."""
_WIDEST = 1 << 16
_NAMED = 3
_WORDS = re.compile(r"[\s,:;]+")


class Reading(Protocol):
    """How masks are read. classes: without those that are void."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def labels(self, image: Image.Image) -> Labels:
        """HxW, class indices or VOID. Raises ImageFault where a pixel has no class."""
        ...


@dataclass(frozen=True)
class ByIndex:
    """Masks of indices. index: of a mask's value, VOID for void."""

    classes: tuple[str, ...]
    index: Mapping[int, int]

    def labels(self, image: Image.Image) -> Labels:
        values = values_of(image)
        table = np.full(_WIDEST, -1, dtype=np.int16)
        table[list(self.index)] = list(self.index.values())
        labels = table[values]
        if (labels < 0).any():
            _unknown("values that are no class", *np.unique(values[labels < 0], return_counts=True), str)
        return labels.astype(np.uint8)


@dataclass(frozen=True)
class ByColour:
    """Masks of colours. index: of a packed colour. Grey masks are indices in the legend's order, where the legend is not grey itself."""

    classes: tuple[str, ...]
    index: Mapping[int, int]
    grey: ByIndex | None

    def labels(self, image: Image.Image) -> Labels:
        if self.grey and image.mode in ("1", "L", "I;16", "I"):
            return self.grey.labels(image)
        if image.mode in ("I;16", "I"):
            raise ImageFault("a mask of 16 bits where the legend has greys of 8")
        pixels = np.asarray(image.convert("RGB")).astype(np.int32)
        colours = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        known = np.array(sorted(self.index), dtype=np.int32)
        at = np.searchsorted(known, colours).clip(max=len(known) - 1)
        missing = known[at] != colours
        if missing.any():
            _unknown(
                "colours that are not in the legend",
                *np.unique(colours[missing], return_counts=True),
                _written,
            )
        labels: Labels = np.array([self.index[colour] for colour in known.tolist()], dtype=np.uint8)[at]
        return labels


def by_index(values: Sequence[int], names: Sequence[str], void: Collection[int | str]) -> ByIndex:
    """values: of the classes in a mask, in order. void: values or names of those that count for nothing; VOID always does."""
    ignored = {name for name in names if name in void or name.lower() in VOID_NAMES}
    kept = [
        (value, name)
        for value, name in zip(values, names, strict=True)
        if value not in void and value != VOID and name not in ignored
    ]
    index = dict.fromkeys([*values, *(value for value in void if isinstance(value, int)), VOID], VOID)
    index |= {value: i for i, (value, _) in enumerate(kept)}
    return ByIndex(tuple(name for _, name in kept), index)


def by_colour(legend: Legend, void: Collection[int | str]) -> ByColour:
    """RequestError where two classes have one colour."""
    names = list(legend)
    grey = by_index(range(len(names)), names, void)
    all_grey = all(len(set(colour)) == 1 for colour in legend.values())
    index: dict[int, int] = {}
    for place, (name, colour) in enumerate(legend.items()):
        packed = colour[0] << 16 | colour[1] << 8 | colour[2]
        if packed in index:
            raise RequestError(
                Fault(
                    "data.format.legend",
                    f"the colour {list(colour)} of '{name}' again",
                    "a colour for each class",
                )
            )
        index[packed] = grey.index[place]
    return ByColour(grey.classes, index, None if all_grey else grey)


def values_of(image: Image.Image) -> NDArray[np.int64]:
    """HxW, 0..65535. Raises ImageFault where the pixels are colours."""
    if image.mode in ("RGB", "RGBA"):
        pixels = np.asarray(image)[..., :3]
        if (pixels != pixels[..., :1]).any():
            colours = np.unique(pixels.reshape(-1, 3), axis=0)
            shown = ", ".join(str(colour) for colour in colours[:_NAMED].tolist())
            raise ImageFault(
                f"colours ({len(colours)}: {shown}{', ...' if len(colours) > _NAMED else ''}) where there is no legend"
            )
        return pixels[..., 0].astype(np.int64)
    if image.mode in ("LA", "PA", "La"):
        return np.asarray(image)[..., 0].astype(np.int64)
    if image.mode not in ("1", "L", "P", "I", "I;16"):
        raise ImageFault(f"a mask with pixels of mode {image.mode}, which are no indices")
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() >= _WIDEST:
        raise ImageFault(f"a mask with values from {values.min()} to {values.max()}, outside 16 bits")
    return values


def parse(lines: Iterable[str], name: str) -> Legend:
    """A line each class: its name and R, G, B, in either order, between commas, colons or blanks; a header is passed over.

    name: of the file. RequestError names each line that is not so.
    """
    found: dict[str, Colour] = {}
    faults = []
    for number, line in enumerate(lines, 1):
        words = [word for word in _WORDS.split(line.strip().strip('"')) if word]
        numbers = [int(word) if word.isdecimal() else -1 for word in words]
        at = next((i for i in range(len(words) - 2) if all(0 <= n <= 255 for n in numbers[i : i + 3])), None)
        label = " ".join(words if at is None else words[:at] or words[at + 3 :])
        if at is not None and label and label not in found:
            found[label] = (numbers[at], numbers[at + 1], numbers[at + 2])
        elif words and not line.startswith(("#", "//")) and not (number == 1 and at is None):
            got = f"'{label}' again" if at is not None and label else f"'{line.strip()}'"
            faults.append(
                Fault(
                    f"{name}:{number}",
                    got,
                    "a name and three numbers from 0 to 255, as in: road, 128, 64, 128",
                )
            )
    if not found and not faults:
        faults = [Fault(name, "no class", "a line for each: a name and three numbers from 0 to 255")]
    if faults:
        raise RequestError(*faults[:20])
    return found


def _unknown(
    what: str, values: NDArray[np.int64], counts: NDArray[np.int64], name: Callable[[int], str]
) -> NoReturn:
    shown = sorted(zip(counts.tolist(), values.tolist(), strict=True), reverse=True)[:_NAMED]
    text = ", ".join(f"{name(value)} ({count:,} pixels)" for count, value in shown)
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    raise ImageFault(f"{what}: {text}{more}")


def _written(packed: int) -> str:
    return f"[{packed >> 16}, {packed >> 8 & 255}, {packed & 255}]"
