"""Lines over steps or epochs, in percent of the plot's box so that text keeps its size at any width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import ClassVar, Literal, NamedTuple

from cvflow.draw.scale import SLACK, log_ticks, number, tick_label, ticks

Points = Sequence[tuple[float, float]]
PointsAndGaps = Sequence[tuple[float, float | None]]
DOTS_UP_TO = 60
"""A series of at most this many points shows each, with its value on hover."""
MOST_POINTS = 600
"""Longer runs are thinned to about this many points: a plot has no more pixels."""


class Dot(NamedTuple):
    """A marked point. x, y: percent. text: what is written of it."""

    x: float
    y: float
    text: str


class Tick(NamedTuple):
    """A label of an axis. position: percent, from the left or from the top."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """One drawn series. path: SVG path data in percent. best: its best point, if that is marked."""

    name: str
    path: str
    dots: list[Dot]
    best: Dot | None


@dataclass(frozen=True)
class Curves:
    """Lines of several series.

    series: name -> [(x, y)]. A y that is None, not finite, or not positive on a log axis, is a gap.
    best: name -> whether its greatest or least point is marked.
    log, x_log: logarithmic axes; with x_log every x is above 0.
    """

    title: str
    series: Mapping[str, PointsAndGaps]
    x_label: str = "epoch"
    y_label: str = ""
    log: bool = False
    x_log: bool = False
    best: Mapping[str, Literal["max", "min"]] = field(default_factory=dict)
    kind: ClassVar[str] = "curves"

    @cached_property
    def drawn(self) -> list[Points]:
        """The points of all series without gaps."""
        drawn = []
        for points in self.series.values():
            drawn.append(self._without_gaps(points))
        return drawn

    @property
    def empty(self) -> bool:
        """Whether there is no point to draw."""
        return not any(self.drawn)

    @property
    def y_ticks(self) -> list[Tick]:
        """The labels of the y axis, from the top."""
        drawn = []
        for y in self._y_values:
            drawn.append(Tick(self._y(y), tick_label(y)))
        return drawn

    @property
    def x_ticks(self) -> list[Tick]:
        """The labels of the x axis, from the left; only those within the data."""
        low, high = self._x_range
        if self.x_log:
            values = log_ticks(low, high)
        else:
            integers = all(map(float.is_integer, self._x_values))
            values = ticks(low, high, most=10, integers=integers)
        drawn = []
        # Ticks are computed, so the last may be a rounding error above the data.
        greatest = high * (1 + SLACK)
        for x in values:
            if low <= x <= greatest:
                drawn.append(Tick(self._x(x), tick_label(x)))
        return drawn

    @property
    def lines(self) -> list[Line]:
        """The drawn series."""
        lines = []
        for name, points in self.series.items():
            lines.append(self._line(name, points))
        return lines

    def _without_gaps(self, points: PointsAndGaps) -> Points:
        valid = []
        for x, y in points:
            if y is not None and self._is_valid(y):
                valid.append((x, y))
        return valid

    def _is_valid(self, y: float) -> bool:
        if self.log and y <= 0:
            return False
        return math.isfinite(y)

    @cached_property
    def _x_values(self) -> list[float]:
        values = []
        for points in self.drawn:
            for x, _ in points:
                values.append(float(x))
        return values

    @cached_property
    def _x_range(self) -> tuple[float, float]:
        low = min(self._x_values)
        high = max(self._x_values)
        if high > low:
            return low, high
        # A single x stands in the middle.
        if self.x_log:
            return low / 2, low * 2
        return low - 1, low + 1

    @cached_property
    def _y_values(self) -> list[float]:
        """The values of the ticks, which cover the data."""
        values: list[float] = []
        for points in self.drawn:
            for _, y in points:
                values.append(y)
        low = min(values)
        high = max(values)
        return log_ticks(low, high) if self.log else ticks(low, high)

    def _x(self, x: float) -> float:
        """Return percent from the left."""
        low, high = self._x_range
        if self.x_log:
            low, high, x = map(math.log, (low, high, x))
        percent = 100 * (x - low) / (high - low)
        return round(percent, 2)

    def _y(self, y: float) -> float:
        """Return percent from the top."""
        low = self._y_values[0]
        high = self._y_values[-1]
        if self.log:
            low, high, y = map(math.log, (low, high, y))
        percent = 100 * (high - y) / (high - low)
        return round(percent, 2)

    def _line(self, name: str, points: PointsAndGaps) -> Line:
        path = ""
        for run in self._runs(points):
            path += self._path(_thinned(run))
        valid = self._without_gaps(points)
        dots = []
        if len(valid) <= DOTS_UP_TO:
            dots = [self._dot(x, y) for x, y in valid]
        best = None
        if valid and name in self.best:
            best = self._best(name, valid)
        return Line(name, path, dots, best)

    def _dot(self, x: float, y: float) -> Dot:
        return Dot(
            x=self._x(x),
            y=self._y(y),
            text=f"{self.x_label} {_exact(x)}: {number(y)}",
        )

    def _best(self, name: str, points: Points) -> Dot:
        choose = max if self.best[name] == "max" else min
        x, y = choose(points, key=itemgetter(1))
        return Dot(
            x=self._x(x),
            y=self._y(y),
            text=f"{number(y)} at {_exact(x)}",
        )

    def _runs(self, points: PointsAndGaps) -> Iterator[Points]:
        """Yield the stretches between gaps."""
        run: list[tuple[float, float]] = []
        for x, y in points:
            if y is not None and self._is_valid(y):
                run.append((x, y))
            elif run:
                yield run
                run = []
        if run:
            yield run

    def _path(self, run: Points) -> str:
        corners = []
        for x, y in run:
            corner = f"{self._x(x):g} {self._y(y):g}"
            corners.append(corner)
        path = "L".join(corners)
        if len(corners) == 1:
            # A lone point is a line of no length, of which the round cap is seen.
            return f"M{path}h0"
        return f"M{path}"


def _exact(x: float) -> str:
    if float(x).is_integer():
        return number(int(x))
    return number(x)


def _thinned(run: Points) -> Points:
    """Return the first, least, greatest and last point of each of many buckets, so that peaks stay."""
    if len(run) <= MOST_POINTS:
        return run
    buckets = MOST_POINTS // 4
    edges = [i * len(run) // buckets for i in range(buckets + 1)]
    thinned: list[tuple[float, float]] = []
    for start, end in pairwise(edges):
        thinned += _outline(run[start:end])
    return thinned


def _outline(points: Points) -> Points:
    """Return the first, least, greatest and last point, in their order."""
    values = [y for _, y in points]
    least = values.index(min(values))
    greatest = values.index(max(values))
    last = len(points) - 1
    corners = {0, least, greatest, last}
    return [points[i] for i in sorted(corners)]
