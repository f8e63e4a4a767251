"""Shows a history file's new points while others write it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvflow.engine.history import read_history
from cvflow.runtime.console import Console


@contextmanager
def follow(history: Path | None, console: Console, every: float = 0.5) -> Iterator[None]:
    """While the body runs, points that come to ``history`` go to the console. every: seconds between looks."""
    if history is None:
        yield
        return
    done = threading.Event()
    start = history.stat().st_size if history.exists() else 0

    def watch() -> None:
        offset, last = start, False
        while not last:
            last = done.wait(every)
            for end, point in read_history(history, offset):
                console.point(point)
                offset = end

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
