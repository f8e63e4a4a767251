"""The plain blocks: numbers, facts and text; and any block from plain data.

Each block is drawn by the macro of its ``kind`` in blocks.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from cvflow.draw.curves import Curves
from cvflow.draw.images import Lineups
from cvflow.draw.matrix import Matrix
from cvflow.draw.reliability import Reliability
from cvflow.draw.scale import number
from cvflow.draw.table import Table

LEAST_CODE = 16
"""Characters from which a word, such as a hash or a path, is set in the code font."""


class Block(Protocol):
    """A part of a page."""

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class Numbers:
    """Big figures: caption -> value. The first is the one that matters and has the accent colour."""

    values: Mapping[str, float | int | str | None]
    kind: ClassVar[str] = "numbers"


class Link(NamedTuple):
    """A value that leads to another file. href: relative to the page."""

    text: str
    href: str


class FactLine(NamedTuple):
    """A drawn fact. code: whether the value is set in the code font. href: where it leads, or ''."""

    label: str
    text: str
    code: bool
    href: str


@dataclass(frozen=True)
class Facts:
    """label -> value, one a line, such as what was run on what."""

    values: Mapping[str, Any]
    title: str = ""
    kind: ClassVar[str] = "facts"

    @property
    def lines(self) -> list[FactLine]:
        """The drawn lines."""
        lines = []
        for label, value in self.values.items():
            lines.append(_fact_line(label, value))
        return lines


def _fact_line(label: str, value: Any) -> FactLine:
    if isinstance(value, Link):
        return FactLine(label, value.text, code=False, href=value.href)
    text = number(value)
    one_word = not any(map(str.isspace, text))
    code = one_word and len(text) >= LEAST_CODE
    return FactLine(label, text, code, href="")


@dataclass(frozen=True)
class Text:
    """Plain text; an empty line begins a paragraph."""

    text: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs that are not empty."""
        paragraphs = []
        for part in self.text.split("\n\n"):
            paragraph = part.strip()
            if paragraph:
                paragraphs.append(paragraph)
        return paragraphs


Figure = Numbers | Table | Facts | Text | Curves | Matrix | Reliability | Lineups
FIGURES: Mapping[str, type[Figure]] = {
    "numbers": Numbers,
    "table": Table,
    "facts": Facts,
    "text": Text,
    "curves": Curves,
    "matrix": Matrix,
    "reliability": Reliability,
    "lineups": Lineups,
}
"""The blocks that plain data can describe, by their kind."""


def block_of(figure: Mapping[str, Any], title: str = "") -> Block:
    """Return the block that plain data describe, as in a metric's details.

    An example: ``{"figure": "matrix", "classes": [...], "values": [...]}``.
    title: drawn above the block if the data give none.
    """
    options = dict(figure)
    block = FIGURES[options.pop("figure")]
    if title and "title" in block.__dataclass_fields__:
        options.setdefault("title", title)
    return block(**options)
