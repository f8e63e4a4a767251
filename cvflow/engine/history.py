"""``history.jsonl``: the points of a training, one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from cvflow.engine.session import Point


class History:
    """Appends points to a file, each step once.

    Training is reproducible, so a step that comes again brings nothing new and is skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_cut_line(path)
        self.last = (-1, True)
        for _, point in read_history(path):
            self.last = max(self.last, _order_key(point))

    def append(self, points: Iterable[Point]) -> None:
        """Write those of the points that come after the last one in the file."""
        with self.path.open("a") as file:
            for point in points:
                key = _order_key(point)
                if key > self.last:
                    file.write(json.dumps(asdict(point)) + "\n")
                    self.last = key


def _order_key(point: Point) -> tuple[int, bool]:
    """Return what points are ordered by: an epoch's summary comes after its last step."""
    return point.step, "epoch" in point.metrics


def _remove_cut_line(path: Path) -> None:
    """Remove half a last line, as a kill or a full disk leaves it: no line may be glued to it."""
    if not path.exists():
        return
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        # in place: a full disk has no room to write the file anew
        os.truncate(path, data.rfind(b"\n") + 1)


def read_history(path: Path, offset: int = 0) -> Iterator[tuple[int, Point]]:
    """Yield (byte offset after the point, point) from ``offset`` on; a cut last line is skipped."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            # a line without an end is still being written
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, Point(**json.loads(line))
