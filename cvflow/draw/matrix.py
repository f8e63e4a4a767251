"""Which class is taken for which: counts and shares of the true class side by side.

Of very many classes only the most confused are drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from cvflow.draw.scale import number, short

Rows = Sequence[Sequence[float]]
LEVELS = 20
"""Shades of a cell."""
NUMBERS_UP_TO = 20
"""More classes than this have cells too small for a number."""
LABELS_UP_TO = 150
ALL_UP_TO = 200
WORST = 100
"""Of more than ALL_UP_TO classes so many are drawn."""
LABEL_CHARACTERS = 18
LETTER = 0.62
"""Width of a letter, generously, in font sizes."""
MOST_FONT = 12
"""Largest size of the labels' font, pixels."""
PANEL = 475
"""Width of a panel, pixels, at which two stand side by side."""
MOST_CELL = 54
"""Largest side of a cell, pixels."""
MISTAKES = 6
"""Mistakes listed below the panels."""


class Layer(NamedTuple):
    """The cells of one shade. path: unit squares, in cells. opacity: 0..1. right: on the diagonal."""

    path: str
    opacity: float
    right: bool


class Cell(NamedTuple):
    """A number in a cell. column, row: in cells. dark: whether the shade below it is strong."""

    column: int
    row: int
    text: str
    dark: bool


class Panel(NamedTuple):
    """One drawn matrix. cells: the numbers, none if the cells are too small for them."""

    title: str
    layers: list[Layer]
    cells: list[Cell]


class Mistake(NamedTuple):
    """How often a class is taken for another. share: of the true class, percent."""

    actual: str
    predicted: str
    times: str
    share: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix. values: a row for each true class, a column for each predicted one, >= 0."""

    classes: Sequence[str]
    values: Rows
    title: str = ""
    kind: ClassVar[str] = "matrix"

    def __post_init__(self) -> None:
        count = len(self.classes)
        lengths = set(map(len, self.values))
        if len(self.values) != count or lengths - {count}:
            expected = f"expected {count} of {count} values: one for each class"
            raise ValueError(f"got {len(self.values)} rows, {expected}")

    @cached_property
    def drawn(self) -> list[int]:
        """The classes drawn, in their order: all, or those with most mistakes."""
        classes = list(range(len(self.classes)))
        if len(classes) <= ALL_UP_TO:
            return classes
        mistakes = self._mistakes()
        worst_first = sorted(classes, key=lambda i: -mistakes[i])
        worst = worst_first[:WORST]
        return sorted(worst)

    def _mistakes(self) -> list[float]:
        """Return how many mistakes each class takes part in, as the true or the predicted one."""
        mistakes = []
        predicted = list(map(sum, zip(*self.values, strict=True)))
        for i, row in enumerate(self.values):
            hits = row[i]
            mistakes.append(sum(row) + predicted[i] - 2 * hits)
        return mistakes

    @property
    def left_out(self) -> str:
        """What is not drawn, in words; '' if all is drawn."""
        count = len(self.drawn)
        total = len(self.classes)
        if count == total:
            return ""
        return f"The {count} of {number(total)} classes with the most mistakes."

    @property
    def cell(self) -> int:
        """Side of a cell in pixels.

        Two panels fit side by side, unless their numbers or labels would be too small to read.
        """
        count = max(1, len(self.drawn))
        fitting = (PANEL - self._room(MOST_FONT)) // count
        return max(_least_cell(count), min(MOST_CELL, fitting))

    @property
    def font(self) -> int:
        """Size of the labels' font, pixels."""
        fitting = self.cell - 1
        return min(MOST_FONT, fitting)

    @property
    def labels(self) -> list[str]:
        """Class names, shortened; none if no letter fits."""
        if len(self.drawn) > LABELS_UP_TO:
            return []
        names = [self.classes[i] for i in self.drawn]
        return list(map(_shortened, names))

    @property
    def gutter(self) -> int:
        """Room for the labels, in pixels."""
        return self._room(self.font)

    def _room(self, font: int) -> int:
        longest = max(map(len, self.labels), default=0)
        width = LETTER * font * longest
        return 10 + round(width)

    @property
    def upright(self) -> bool:
        """Whether every label is narrower than a cell, so that those of the columns need no turning."""
        width = self.gutter - 6
        return width <= self.cell

    @property
    def guides(self) -> str:
        """SVG path data of a line every 5 cells, in cells, if there are too many to follow by eye."""
        count = len(self.drawn)
        if count <= NUMBERS_UP_TO:
            return ""
        path = ""
        for i in range(5, count, 5):
            path += f"M0 {i}h{count}M{i} 0v{count}"
        return path

    @property
    def panels(self) -> list[Panel]:
        """The counts, and the shares of the true class."""
        counts = []
        shares = []
        for i in self.drawn:
            row = [self.values[i][j] for j in self.drawn]
            counts.append(row)
            shares.append(_divided(row, sum(self.values[i])))
        greatest = max(map(max, counts), default=0)
        weights = [_divided(row, greatest) for row in counts]
        return [
            self._panel("Counts", counts, weights),
            self._panel("Share of the true class", shares, shares),
        ]

    def _panel(self, title: str, numbers: Rows, weights: Rows) -> Panel:
        """weights: 0..1, how strong each cell's shade is."""
        squares: dict[tuple[bool, int], str] = defaultdict(str)
        cells = []
        for i, row in enumerate(weights):
            for j, weight in enumerate(row):
                if weight <= 0:
                    continue
                # The power 0.4 makes a few mistakes visible beside many hits.
                level = max(1, round(LEVELS * weight**0.4))
                squares[i == j, level] += f"M{j} {i}h1v1h-1z"
                dark = level >= 0.7 * LEVELS
                cells.append(Cell(j, i, short(numbers[i][j]), dark))
        layers = []
        for (right, level), path in sorted(squares.items()):
            layers.append(Layer(path, level / LEVELS, right))
        if len(self.drawn) > NUMBERS_UP_TO:
            cells = []
        return Panel(title, layers, cells)

    @property
    def confused(self) -> list[Mistake]:
        """The most frequent mistakes."""
        pairs = []
        for i, row in enumerate(self.values):
            for j, value in enumerate(row):
                if value > 0 and i != j:
                    pairs.append((-value, i, j))
        pairs.sort()
        return [self._mistake(i, j) for _, i, j in pairs[:MISTAKES]]

    def _mistake(self, i: int, j: int) -> Mistake:
        value = self.values[i][j]
        share = 100 * value / sum(self.values[i])
        return Mistake(
            actual=self.classes[i],
            predicted=self.classes[j],
            times=number(value),
            share=f"{share:.1f}",
        )


def _least_cell(count: int) -> int:
    """Return the side, pixels, that a cell's number, label, or shade alone needs."""
    if count <= NUMBERS_UP_TO:
        return 24
    if count <= LABELS_UP_TO:
        return 9
    return 4


def _divided(row: Sequence[float], total: float) -> list[float]:
    """Return the values by the total; a total of 0 leaves them 0."""
    divisor = total or 1
    return [value / divisor for value in row]


def _shortened(name: str) -> str:
    if len(name) <= LABEL_CHARACTERS:
        return name
    return name[: LABEL_CHARACTERS - 1] + "\u2026"
