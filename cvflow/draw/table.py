"""A table of plain cells, whose numbers may wear bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from cvflow.draw.scale import number

SHOWN = 300
"""Rows drawn; a longer table says how many it has."""


class Short(NamedTuple):
    """A value too long to be read; the whole is shown on hover."""

    text: str
    whole: str


class Cell(NamedTuple):
    """bar: percent of the cell's width, None where there is none. whole: shown on hover, '' where the text is all there is."""

    text: str
    bar: float | None
    whole: str = ""


@dataclass(frozen=True)
class Table:
    """A column of numbers is set to the right, its fractions with three decimals; None is a dash.

    order: the column by which the rows are sorted, least first, gaps last; '' leaves them as they are.
    bars: columns of numbers >= 0 that are drawn as bars too, of the column's greatest (of 1 where none is above).
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    order: str = ""
    bars: Sequence[str] = ()
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"got a row of {len(row)} cells, expected {len(self.columns)}: {list(self.columns)}"
                )
        if missing := {self.order, *self.bars} - {"", *self.columns}:
            raise ValueError(f"got {sorted(missing)}, expected columns of the table: {list(self.columns)}")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers (and gaps) only."""
        return [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]

    @cached_property
    def _sorted(self) -> list[Sequence[Any]]:
        if not self.order:
            return list(self.rows)
        by = self.columns.index(self.order)
        return sorted(self.rows, key=lambda row: (row[by] is None, row[by] if row[by] is not None else 0))

    @property
    def cells(self) -> list[list[Cell]]:
        """The drawn rows."""
        scales = [self._scale(i) if column in self.bars else None for i, column in enumerate(self.columns)]
        return [
            [_cell(value, scale) for value, scale in zip(row, scales, strict=True)]
            for row in self._sorted[:SHOWN]
        ]

    def _scale(self, column: int) -> float:
        values = [row[column] for row in self.rows if row[column] is not None]
        greatest = max(values, default=1)
        return 1.0 if all(isinstance(v, float) for v in values) and greatest <= 1 else greatest or 1

    @property
    def left_out(self) -> str:
        """What is not drawn, in words; '' where all is."""
        return f"The first {SHOWN} of {number(len(self.rows))} rows." if len(self.rows) > SHOWN else ""


def _cell(value: Any, scale: float | None) -> Cell:
    if isinstance(value, Short):
        return Cell(value.text, None, value.whole)
    return Cell(number(value, 3), None if scale is None or value is None else round(100 * value / scale, 1))


def _is_number(cell: Any) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))
