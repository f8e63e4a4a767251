"""Parallel coordinates: an axis for each key, a line for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar, NamedTuple


class Axis(NamedTuple):
    """An axis. low, high: the texts at its foot and its head."""

    name: str
    low: str
    high: str


@dataclass(frozen=True)
class Parallel:
    """Lines over axes.

    lines: (name, place on each axis, strength). A place is 0..1, or None for a gap; a strength is 0..1.
    The weakest lines are drawn first, below the others.
    """

    axes: Sequence[Axis]
    lines: Sequence[tuple[str, Sequence[float | None], float]]
    title: str = ""
    kind: ClassVar[str] = "parallel"

    @property
    def columns(self) -> list[tuple[float, Axis]]:
        """(% from the left, axis)."""
        columns = []
        for index, axis in enumerate(self.axes):
            columns.append((self._x(index), axis))
        return columns

    @property
    def drawn(self) -> list[tuple[str, str, float]]:
        """(name, SVG path data in percent, opacity)."""
        drawn = []
        weakest_first = sorted(self.lines, key=itemgetter(2))
        for name, places, strength in weakest_first:
            # The cube lets the strongest few stand out; the rest stays just visible.
            opacity = 0.12 + 0.88 * strength**3
            path = self._path(places)
            drawn.append((name, path, round(opacity, 3)))
        return drawn

    def _x(self, index: int) -> float:
        last = len(self.axes) - 1
        if last == 0:
            return 0.0
        return round(100 * index / last, 2)

    def _path(self, places: Sequence[float | None]) -> str:
        path = ""
        pen = "M"
        for index, place in enumerate(places):
            if place is None:
                pen = "M"
                continue
            x = self._x(index)
            y = 100 - 100 * place
            path += f"{pen}{x:g} {y:.2f}"
            pen = "L"
        return path
