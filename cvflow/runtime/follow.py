"""Shows what others do: new points of a history file, and where the training stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cvflow.engine.history import read_history
from cvflow.engine.session import Progress
from cvflow.runtime.console import Console


@contextmanager
def follow(
    history: Path | None,
    news: Callable[[], tuple[Progress | None, list[str]]],
    console: Console,
    every: float = 0.5,
) -> Iterator[None]:
    """While the body runs, points that come to ``history`` and news (progress, lines to say) go to
    the console. every: seconds.
    """
    if history is None:
        yield
        return
    done = threading.Event()
    start = history.stat().st_size if history.exists() else 0

    def watch() -> None:
        offset, last, last_progress = start, False, None
        while not last:
            last = done.wait(every)
            for end, point in read_history(history, offset):
                console.point(point)
                offset = end
            current: Progress | None = None
            lines: list[str] = []
            # whoever knows may be gone: the points still come
            with suppress(Exception):
                current, lines = news()
            for text in lines:
                console.say(text)
            if current is not None and current != last_progress and not last:
                console.progress(current)
                last_progress = current

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
