"""The plain blocks: numbers, facts, text; and any block from plain data. Each is drawn by the macro of its ``kind`` in blocks.html."""

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


class Block(Protocol):
    """What a page is made of."""

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class Numbers:
    """Big figures: caption -> value. The first is the one that matters and wears the accent colour."""

    values: Mapping[str, float | int | str | None]
    kind: ClassVar[str] = "numbers"


class Link(NamedTuple):
    """A value that leads to another file. href: relative to the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Facts:
    """label -> value, one a line: what was run on what. Long words (hashes, paths) are set in the code font."""

    values: Mapping[str, Any]
    title: str = ""
    kind: ClassVar[str] = "facts"

    @property
    def lines(self) -> list[tuple[str, str, bool, str]]:
        """(label, value, whether it is code, where it leads or '')."""
        return [(label, *self._line(value)) for label, value in self.values.items()]

    def _line(self, value: Any) -> tuple[str, bool, str]:
        if isinstance(value, Link):
            return value.text, False, value.href
        text = number(value)
        return text, len(text) >= 16 and not any(map(str.isspace, text)), ""


@dataclass(frozen=True)
class Text:
    """Plain text; an empty line begins a paragraph."""

    text: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


FIGURES: Mapping[str, type[Numbers | Table | Facts | Text | Curves | Matrix | Reliability | Lineups]] = {
    block.kind: block for block in (Numbers, Table, Facts, Text, Curves, Matrix, Reliability, Lineups)
}


def block_of(figure: Mapping[str, Any], title: str = "") -> Block:
    """The block that plain data describe: ``{"figure": "matrix", "classes": [...], "values": [...]}``, as in a metric's details.

    title: drawn above the block where the data give none.
    """
    block = FIGURES[figure["figure"]]
    options = {key: value for key, value in figure.items() if key != "figure"}
    if title and "title" in block.__dataclass_fields__:
        options = {"title": title} | options
    return block(**options)
