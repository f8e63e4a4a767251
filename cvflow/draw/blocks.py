"""The plain blocks: numbers, table, facts, text. Each is drawn by the macro of its ``kind`` in blocks.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from cvflow.draw.curves import Curves
from cvflow.draw.matrix import Matrix
from cvflow.draw.scale import number


class Block(Protocol):
    """What a page is made of."""

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class Numbers:
    """Big figures: caption -> value. The first is the one that matters and wears the accent colour."""

    values: Mapping[str, float | int | str | None]
    kind: ClassVar[str] = "numbers"


@dataclass(frozen=True)
class Table:
    """Rows of plain cells. A column of numbers is set to the right, its fractions with three decimals; None is a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"got a row of {len(row)} cells, expected {len(self.columns)}: {list(self.columns)}")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers (and gaps) only."""
        return [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]

    @property
    def cells(self) -> list[list[str]]:
        return [[number(cell, 3) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Facts:
    """label -> value, one a line: what was run on what. Long words (hashes, paths) are set in the code font."""

    values: Mapping[str, Any]
    kind: ClassVar[str] = "facts"

    @property
    def lines(self) -> list[tuple[str, str, bool]]:
        """(label, value, whether it is code)."""
        texts = [(label, number(value)) for label, value in self.values.items()]
        return [(label, text, len(text) >= 16 and not any(map(str.isspace, text))) for label, text in texts]


@dataclass(frozen=True)
class Text:
    """Plain text; an empty line begins a paragraph."""

    text: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


FIGURES: Mapping[str, type[Numbers | Table | Facts | Text | Curves | Matrix]] = {
    block.kind: block for block in (Numbers, Table, Facts, Text, Curves, Matrix)
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


def _is_number(cell: Any) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))
