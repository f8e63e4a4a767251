"""One annotation file of Pascal VOC. A document type, with which XML can be made to swell or to read files, is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

EDGES = ("xmin", "ymin", "xmax", "ymax")
_MOST = 16 * 2**20
"""Bytes of a file; the largest of Pascal VOC has 20,000."""


class Object(NamedTuple):
    """number: in its file, from 1. box: xyxy, pixel edges from 0. size: width and height of the image as the file says, if it does.

    fault: why there is no box.
    """

    number: int
    name: str
    box: tuple[float, float, float, float]
    size: tuple[int, int] | None
    fault: str | None = None


class Annotation(NamedTuple):
    """filename: of the image, '' where the file does not say."""

    filename: str
    objects: list[Object]


def read(data: bytes) -> Annotation | str:
    """What the file says, or why it cannot be read.

    Pascal VOC counts pixels from 1 and names the first and the last one in the box: xmin 1, xmax 1 is the edges 0 to 1. Programs that
    write 0 for the first pixel mean the image's edge.
    """
    try:
        root = _tree(data)
    except (expat.ExpatError, ValueError) as error:
        return f"no readable XML: {error}"
    size = root.find("size")
    width, height = (_whole(size, side) for side in ("width", "height"))
    known = (width, height) if width and height else None
    objects = [_object(i, found, known) for i, found in enumerate(root.iter("object"), 1)]
    return Annotation(_text(root, "filename").replace("\\", "/").rpartition("/")[2], objects)


def _tree(data: bytes) -> Element:
    if len(data) > _MOST:
        raise ValueError(f"{len(data) / 2**20:.0f} MB")
    parser, builder = expat.ParserCreate(), TreeBuilder()
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.Parse(data, True)
    return builder.close()


def _refuse(*_: object) -> None:
    raise ValueError("it has a document type")


def _object(number: int, found: Element, size: tuple[int, int] | None) -> Object:
    name, where = _text(found, "name"), found.find("bndbox")
    what = f"object {number}" + (f" '{name}'" if name else "")
    fault = f"{what} without a name" if not name else f"{what} without a bndbox" if where is None else None
    values = [0.0] * 4 if where is None else list(_edges(where))
    wrong = [
        f"{edge} '{_text(where, edge)}'"
        for edge, value in zip(EDGES, values, strict=True)
        if value is None and where is not None
    ]
    if wrong and not fault:
        fault = f"{what}: {', '.join(wrong)}, not a number"
    left, top, right, bottom = (value or 0.0 for value in values)
    return Object(number, name, (_from_zero(left), _from_zero(top), right, bottom), size, fault)


def _from_zero(pixel: float) -> float:
    """The edge before a pixel counted from 1; what is left of the first one stays where it is."""
    return pixel - 1 if pixel >= 1 else min(0.0, pixel)


def _edges(box: Element) -> Iterator[float | None]:
    for edge in EDGES:
        try:
            value = float(_text(box, edge))
        except ValueError:
            value = math.nan
        yield value if math.isfinite(value) else None


def _whole(size: Element | None, side: str) -> int:
    text = "" if size is None else _text(size, side)
    return int(text) if text.isdecimal() else 0


def _text(above: Element, name: str) -> str:
    return (above.findtext(name) or "").strip()
