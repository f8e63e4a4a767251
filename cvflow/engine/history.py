"""``history.jsonl``: the points of a training, one JSON object a line, each step once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from cvflow.engine.session import Point


class History:
    """Appends points to a file. Training is reproducible, so a step seen again brings nothing new and is skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_cut_line(path)
        self.last = max(((p.step, "epoch" in p.metrics) for _, p in read_history(path)), default=(-1, True))

    def append(self, points: Iterable[Point]) -> None:
        with self.path.open("a") as file:
            for point in points:
                key = (point.step, "epoch" in point.metrics)  # an epoch's summary comes after its last step
                if key > self.last:
                    file.write(json.dumps(asdict(point)) + "\n")
                    self.last = key


def _drop_cut_line(path: Path) -> None:
    """A kill, or a full disk, can leave half a last line: what follows must not be glued to it."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)  # in place: a full disk has no room to write it anew


def read_history(path: Path, offset: int = 0) -> Iterator[tuple[int, Point]]:
    """(byte offset after it, point) from ``offset`` on; a last line cut short is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # still being written
            offset += len(line)
            yield offset, Point(**json.loads(line))
