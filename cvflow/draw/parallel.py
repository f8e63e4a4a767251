"""Parallel coordinates: an axis a key, a line a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class Axis(NamedTuple):
    """low, high: what stands at its foot and its head."""

    name: str
    low: str
    high: str


@dataclass(frozen=True)
class Parallel:
    """lines: (name, a place in 0..1 on each axis or None for a gap, strength in 0..1). The weakest are drawn first."""

    axes: Sequence[Axis]
    lines: Sequence[tuple[str, Sequence[float | None], float]]
    title: str = ""
    kind: ClassVar[str] = "parallel"

    @property
    def columns(self) -> list[tuple[float, Axis]]:
        """(% from the left, axis)."""
        return [(self._x(i), axis) for i, axis in enumerate(self.axes)]

    @property
    def drawn(self) -> list[tuple[str, str, float]]:
        """(name, SVG path data in percent, opacity)."""
        order = sorted(self.lines, key=lambda line: line[2])
        return [
            (name, self._path(places), round(0.12 + 0.88 * strength**3, 3))
            for name, places, strength in order
        ]

    def _x(self, index: int) -> float:
        return round(100 * index / max(1, len(self.axes) - 1), 2)

    def _path(self, places: Sequence[float | None]) -> str:
        path, pen = "", "M"
        for index, place in enumerate(places):
            if place is None:
                pen = "M"
                continue
            path += f"{pen}{self._x(index):g} {100 - 100 * place:.2f}"
            pen = "L"
        return path
