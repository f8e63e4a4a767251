"""One annotation file of Pascal VOC.

A document type, with which XML can be made to swell or to read files, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

EDGES = ("xmin", "ymin", "xmax", "ymax")
_MOST_BYTES = 16 * 2**20
"""Bytes of a file; the largest of Pascal VOC has 20,000."""


class Object(NamedTuple):
    """An object.

    number: in its file, from 1. box: xyxy, pixel edges from 0. size: width and height of the image,
    if the file gives them. fault: why there is no box.
    """

    number: int
    name: str
    box: tuple[float, float, float, float]
    size: tuple[int, int] | None
    fault: str | None = None


class Annotation(NamedTuple):
    """The annotation of an image. filename: of the image, '' if the file does not give it."""

    filename: str
    objects: list[Object]


def read(data: bytes) -> Annotation | str:
    """Return the annotation, or why the file cannot be read.

    Pascal VOC counts pixels from 1 and gives the first and the last one in the box: xmin 1 and xmax 1
    are the edges 0 and 1. Programs that write 0 for the first pixel mean the image's edge.
    """
    try:
        root = _tree(data)
    except (expat.ExpatError, ValueError) as error:
        return f"no readable XML: {error}"
    size = _image_size(root)
    objects = []
    for number, element in enumerate(root.iter("object"), 1):
        objects.append(_object(number, element, size))
    # Some programs write the path, with the separators of their system.
    path = _text(root, "filename").replace("\\", "/")
    return Annotation(path.rpartition("/")[2], objects)


def _tree(data: bytes) -> Element:
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{len(data) / 2**20:.0f} MB")
    parser = expat.ParserCreate()
    builder = TreeBuilder()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.Parse(data, True)
    return builder.close()


def _refuse(*_: object) -> None:
    raise ValueError("it has a document type")


def _image_size(root: Element) -> tuple[int, int] | None:
    """Return width and height, None if the file does not give both."""
    size = root.find("size")
    if size is None:
        return None
    width = _integer(size, "width")
    height = _integer(size, "height")
    if not width or not height:
        return None
    return width, height


def _object(number: int, element: Element, size: tuple[int, int] | None) -> Object:
    name = _text(element, "name")
    box = element.find("bndbox")
    edges: list[float | None] = [0.0] * 4
    if box is not None:
        edges = list(_edges(box))
    left, top, right, bottom = (edge or 0.0 for edge in edges)
    return Object(
        number,
        name,
        box=(_from_zero(left), _from_zero(top), right, bottom),
        size=size,
        fault=_fault(number, name, box, edges),
    )


def _fault(number: int, name: str, box: Element | None, edges: Sequence[float | None]) -> str | None:
    if not name:
        return f"object {number} without a name"
    if box is None:
        return f"object {number} '{name}' without a bndbox"
    wrong = []
    for key, value in zip(EDGES, edges, strict=True):
        if value is None:
            wrong.append(f"{key} '{_text(box, key)}'")
    if wrong:
        return f"object {number} '{name}': {', '.join(wrong)}, not a number"
    return None


def _from_zero(pixel: float) -> float:
    """Return the edge before a pixel counted from 1; what is left of the first pixel stays where it is."""
    if pixel >= 1:
        return pixel - 1
    return min(0.0, pixel)


def _edges(box: Element) -> Iterator[float | None]:
    """Yield the four edges, None for one that is no number."""
    for key in EDGES:
        try:
            value = float(_text(box, key))
        except ValueError:
            value = math.nan
        yield value if math.isfinite(value) else None


def _integer(parent: Element, name: str) -> int:
    """Return an element's number, 0 if it has none."""
    text = _text(parent, name)
    return int(text) if text.isdecimal() else 0


def _text(parent: Element, name: str) -> str:
    text = parent.findtext(name) or ""
    return text.strip()
