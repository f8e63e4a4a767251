"""Who is taken for whom: counts and shares of the true class side by side; of very many classes those most confused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from cvflow.draw.scale import number, short

LEVELS = 20
NUMBERS_UP_TO = 20
"""More classes than this have cells too small for a number."""
LABELS_UP_TO = 150
ALL_UP_TO = 200
WORST = 100
"""Of more than ALL_UP_TO classes so many are drawn."""
LABEL_CHARACTERS = 18
LETTER = 0.62
"""Width of a letter, generously, in font sizes."""
PANEL = 475
"""Two panels of this width, in pixels, stand side by side."""


class Layer(NamedTuple):
    """The cells of one shade. path: unit squares, in cells; opacity: 0..1; right: on the diagonal."""

    path: str
    opacity: float
    right: bool


class Cell(NamedTuple):
    """A number in a cell. column, row: in cells; dark: the shade below it is strong."""

    column: int
    row: int
    text: str
    dark: bool


class Panel(NamedTuple):
    title: str
    layers: list[Layer]
    cells: list[Cell]


@dataclass(frozen=True)
class Matrix:
    """values: one row for each true class, one column for each predicted class, >= 0."""

    classes: Sequence[str]
    values: Sequence[Sequence[float]]
    title: str = ""
    kind: ClassVar[str] = "matrix"

    def __post_init__(self) -> None:
        count = len(self.classes)
        if len(self.values) != count or any(len(row) != count for row in self.values):
            raise ValueError(
                f"got {len(self.values)} rows, expected {count} of {count} values: one for each class"
            )

    @cached_property
    def shown(self) -> list[int]:
        """The classes drawn, in their order: all, or those with most mistakes."""
        count = len(self.classes)
        if count <= ALL_UP_TO:
            return list(range(count))
        hits = [self.values[i][i] for i in range(count)]
        columns = [sum(column) for column in zip(*self.values, strict=True)]
        mistakes = [
            sum(row) + column - 2 * hit for row, column, hit in zip(self.values, columns, hits, strict=True)
        ]
        return sorted(sorted(range(count), key=lambda i: (-mistakes[i], i))[:WORST])

    @property
    def left_out(self) -> str:
        """What is not drawn, in words; '' where all is."""
        count = len(self.shown)
        return (
            f"The {count} of {number(len(self.classes))} classes with the most mistakes."
            if count < len(self.classes)
            else ""
        )

    @property
    def cell(self) -> int:
        """Side of a cell in pixels: two panels stand side by side, unless their numbers or labels could not be read."""
        count = max(1, len(self.shown))
        least = 24 if count <= NUMBERS_UP_TO else 9 if count <= LABELS_UP_TO else 4
        return max(least, min(54, (PANEL - self._room(12)) // count))

    @property
    def font(self) -> int:
        return min(12, self.cell - 1)

    @property
    def labels(self) -> list[str]:
        """Class names, shortened; none where no letter fits."""
        if len(self.shown) > LABELS_UP_TO:
            return []
        names = [self.classes[i] for i in self.shown]
        return [c if len(c) <= LABEL_CHARACTERS else c[: LABEL_CHARACTERS - 1] + "\u2026" for c in names]

    @property
    def gutter(self) -> int:
        """Room for the labels, in pixels."""
        return self._room(self.font)

    def _room(self, font: int) -> int:
        return 10 + round(LETTER * font * max((len(label) for label in self.labels), default=0))

    @property
    def upright(self) -> bool:
        """Whether every label is narrower than a cell, so that those of the columns need not be turned."""
        return self.gutter - 6 <= self.cell

    @property
    def guides(self) -> str:
        """SVG path data of a line every 5 cells, in cells, where there are too many to be followed by eye."""
        count = len(self.shown)
        return (
            "".join(f"M0 {i}h{count}M{i} 0v{count}" for i in range(5, count, 5))
            if count > NUMBERS_UP_TO
            else ""
        )

    @property
    def panels(self) -> list[Panel]:
        totals = [sum(self.values[i]) or 1 for i in self.shown]
        values = [[self.values[i][j] for j in self.shown] for i in self.shown]
        shares = [[v / total for v in row] for row, total in zip(values, totals, strict=True)]
        greatest = max((v for row in values for v in row), default=0) or 1
        counts = [[v / greatest for v in row] for row in values]
        return [self._panel("Counts", values, counts), self._panel("Share of the true class", shares, shares)]

    def _panel(
        self, title: str, shown: Sequence[Sequence[float]], weights: Sequence[Sequence[float]]
    ) -> Panel:
        """weights: 0..1. Shades follow their power 0.4: a few mistakes are seen beside many hits."""
        squares: dict[tuple[bool, int], list[str]] = defaultdict(list)
        cells = []
        for i, row in enumerate(weights):
            for j, weight in enumerate(row):
                if weight > 0:
                    level = max(1, round(LEVELS * weight**0.4))
                    squares[i == j, level].append(f"M{j} {i}h1v1h-1z")
                    cells.append(Cell(j, i, short(shown[i][j]), level >= 0.7 * LEVELS))
        layers = [
            Layer("".join(paths), level / LEVELS, right) for (right, level), paths in sorted(squares.items())
        ]
        return Panel(title, layers, cells if len(self.shown) <= NUMBERS_UP_TO else [])

    @property
    def confused(self) -> list[tuple[str, str, str, str]]:
        """The most frequent mistakes: (true, predicted, count, share of the true class in percent)."""
        wrong = [
            (v, i, j) for i, row in enumerate(self.values) for j, v in enumerate(row) if v > 0 and i != j
        ]
        worst = sorted(wrong, key=lambda item: (-item[0], item[1], item[2]))[:6]
        return [
            (self.classes[i], self.classes[j], number(v), f"{100 * v / sum(self.values[i]):.1f}")
            for v, i, j in worst
        ]
