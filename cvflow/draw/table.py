"""A table of plain cells, whose numbers may have bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from cvflow.draw.scale import number

MOST_ROWS = 300
"""Rows drawn; a longer table says how many it has."""


class Short(NamedTuple):
    """A value too long to be read. full: shown on hover."""

    text: str
    full: str


class Cell(NamedTuple):
    """A drawn cell. bar: percent of the cell's width, or None. full: shown on hover, or ''."""

    text: str
    bar: float | None
    full: str = ""


@dataclass(frozen=True)
class Table:
    """A table. Columns of numbers are set to the right, with three decimals; None is a dash.

    order: the column by which the rows are sorted, least first, gaps last; '' leaves them as they are.
    bars: columns of numbers >= 0 that have bars too. A full bar is the column's greatest value, or 1 if
    it holds fractions.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    order: str = ""
    bars: Sequence[str] = ()
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        columns = list(self.columns)
        for row in self.rows:
            if len(row) != len(columns):
                raise ValueError(f"got a row of {len(row)} cells, expected {len(columns)}: {columns}")
        named = {self.order, *self.bars}
        unknown = named - {"", *columns}
        if unknown:
            raise ValueError(f"got {sorted(unknown)}, expected columns of the table: {columns}")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers (and gaps) only."""
        numeric = [True] * len(self.columns)
        for row in self.rows:
            for i, value in enumerate(row):
                numeric[i] &= _is_number(value)
        return numeric

    @property
    def cells(self) -> list[list[Cell]]:
        """The drawn rows."""
        scales = [self._scale(i) for i in range(len(self.columns))]
        lines = []
        for row in self._sorted[:MOST_ROWS]:
            lines.append(list(map(_cell, row, scales)))
        return lines

    @property
    def left_out(self) -> str:
        """What is not drawn, in words; '' if all is drawn."""
        total = len(self.rows)
        if total <= MOST_ROWS:
            return ""
        return f"The first {MOST_ROWS} of {number(total)} rows."

    @cached_property
    def _sorted(self) -> list[Sequence[Any]]:
        if not self.order:
            return list(self.rows)
        column = self.columns.index(self.order)

        def key(row: Sequence[Any]) -> tuple[bool, Any]:
            value = row[column]
            return value is None, 0 if value is None else value

        return sorted(self.rows, key=key)

    def _scale(self, column: int) -> float | None:
        """Return the value of a full bar; None if the column has no bars."""
        if self.columns[column] not in self.bars:
            return None
        values = [row[column] for row in self.rows if row[column] is not None]
        greatest = max(values, default=1)
        types = set(map(type, values))
        if greatest <= 1 and types <= {float}:
            return 1.0
        return greatest or 1


def _cell(value: Any, scale: float | None) -> Cell:
    if isinstance(value, Short):
        return Cell(value.text, None, value.full)
    bar = None
    if scale is not None and value is not None:
        bar = round(100 * value / scale, 1)
    return Cell(number(value, 3), bar)


def _is_number(cell: Any) -> bool:
    # To Python a bool is an int; here it is a word.
    if isinstance(cell, bool):
        return False
    return cell is None or isinstance(cell, (int, float))
