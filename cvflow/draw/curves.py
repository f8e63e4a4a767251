"""Lines over steps or epochs, in percent of the plot's box so that text keeps its size at any width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal

from cvflow.draw.scale import log_ticks, number, tick_label, ticks

Points = Sequence[tuple[float, float]]
DOTS_UP_TO = 60
"""A series of at most this many points shows each, with its value on hover."""
KEPT = 600
"""More points than a plot has pixels are thinned to about this many."""


@dataclass(frozen=True)
class Line:
    """One drawn series. path: SVG path data in percent; dots: (x %, y %, hover text); best: (x %, y %, text) or None."""

    name: str
    path: str
    dots: list[tuple[float, float, str]]
    best: tuple[float, float, str] | None


@dataclass(frozen=True)
class Curves:
    """series: name -> [(x, y)]. A y that is None, not finite, or not positive on a log axis, is a gap.

    best: name -> whether its greatest or least point is marked. log, x_log: logarithmic axes; every x is then above 0.
    """

    title: str
    series: Mapping[str, Sequence[tuple[float, float | None]]]
    x_label: str = "epoch"
    y_label: str = ""
    log: bool = False
    x_log: bool = False
    best: Mapping[str, Literal["max", "min"]] = field(default_factory=dict)
    kind: ClassVar[str] = "curves"

    @cached_property
    def drawn(self) -> list[Points]:
        """The points of all series without gaps."""
        return [
            [(x, y) for x, y in points if self._has(y) and y is not None] for points in self.series.values()
        ]

    @property
    def empty(self) -> bool:
        return not any(self.drawn)

    def _has(self, y: float | None) -> bool:
        return y is not None and math.isfinite(y) and (y > 0 or not self.log)

    @cached_property
    def _y_values(self) -> list[float]:
        ys = [y for points in self.drawn for _, y in points]
        return log_ticks(min(ys), max(ys)) if self.log else ticks(min(ys), max(ys))

    @cached_property
    def _x_range(self) -> tuple[float, float]:
        xs = [x for points in self.drawn for x, _ in points]
        if max(xs) > min(xs):
            return min(xs), max(xs)
        return (xs[0] / 2, xs[0] * 2) if self.x_log else (xs[0] - 1, xs[0] + 1)

    def _x(self, x: float) -> float:
        low, high, x = (math.log(v) if self.x_log else v for v in (*self._x_range, x))
        return round(100 * (x - low) / (high - low), 2)

    def _y(self, y: float) -> float:
        low, high, y = (math.log(v) if self.log else v for v in (self._y_values[0], self._y_values[-1], y))
        return round(100 * (high - y) / (high - low), 2)

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """(% from the top, label)."""
        return [(self._y(v), tick_label(v)) for v in self._y_values]

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """(% from the left, label); only those within the data."""
        low, high = self._x_range
        whole = all(float(x).is_integer() for points in self.drawn for x, _ in points)
        found = log_ticks(low, high) if self.x_log else ticks(low, high, most=10, whole=whole)
        return [(self._x(v), tick_label(v)) for v in found if low <= v <= high * (1 + 1e-9)]

    @property
    def lines(self) -> list[Line]:
        return [self._line(name, points) for name, points in self.series.items()]

    def _line(self, name: str, points: Sequence[tuple[float, float | None]]) -> Line:
        path = "".join(self._path(_thinned(run)) for run in self._runs(points))
        seen = [(x, y) for x, y in points if self._has(y) and y is not None]
        dots = (
            [(self._x(x), self._y(y), self._said(x, y)) for x, y in seen] if len(seen) <= DOTS_UP_TO else []
        )
        best = None
        if seen and name in self.best:
            choose = max if self.best[name] == "max" else min
            x, y = choose(seen, key=lambda point: point[1])
            best = self._x(x), self._y(y), f"{number(y)} at {_exact(x)}"
        return Line(name, path, dots, best)

    def _said(self, x: float, y: float) -> str:
        return f"{self.x_label} {_exact(x)}: {number(y)}"

    def _runs(self, points: Sequence[tuple[float, float | None]]) -> Iterator[Points]:
        """The stretches between gaps."""
        run: list[tuple[float, float]] = []
        for x, y in points:
            if y is not None and self._has(y):
                run.append((x, y))
            elif run:
                yield run
                run = []
        if run:
            yield run

    def _path(self, run: Points) -> str:
        at = [f"{self._x(x):g} {self._y(y):g}" for x, y in run]
        return f"M{'L'.join(at)}" if len(at) > 1 else f"M{at[0]}h0"  # a lone point: a round cap of no length


def _exact(x: float) -> str:
    return number(int(x) if float(x).is_integer() else x)


def _thinned(run: Points) -> Points:
    """The first, least, greatest and last point of each of many buckets: peaks stay."""
    if len(run) <= KEPT:
        return run
    edges = [i * len(run) // (KEPT // 4) for i in range(KEPT // 4 + 1)]
    kept: list[tuple[float, float]] = []
    for start, end in pairwise(edges):
        bucket = range(start, end)
        extremes = {
            start,
            end - 1,
            min(bucket, key=lambda i: run[i][1]),
            max(bucket, key=lambda i: run[i][1]),
        }
        kept += [run[i] for i in sorted(extremes)]
    return kept
