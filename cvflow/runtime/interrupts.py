"""SIGINT and SIGTERM: the first asks the work to stop where nothing is lost, the second stops it at once."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 1.0
"""Seconds within which two signals are one: what goes to a whole process group comes by way of
``cvflow run`` as well.
"""


class _Heard:
    """What this process has heard. last: when, of the signals that counted. raised: whether one
    ended what was under way.
    """

    last = -math.inf
    raised = False


def repeated() -> bool:
    """Whether the signal just heard is one with that before."""
    now = time.monotonic()
    if now - _Heard.last <= TOGETHER:
        return True
    _Heard.last = now
    return False


def raise_once(number: int, frame: FrameType | None) -> None:
    """A handler that ends what is under way as Ctrl-C does; what follows at once finds it ending already."""
    if not repeated():
        _Heard.raised = True
        raise KeyboardInterrupt


def cut_short() -> bool:
    """Whether ``raise_once`` has raised: what fails after it, fails of it (an import that was
    broken off, say).
    """
    return _Heard.raised


@contextmanager
def handled_by(handler: Handler, numbers: Iterable[signal.Signals] = SIGNALS) -> Iterator[None]:
    """While the body runs, signals go to the handler.

    Python hands them to its main thread alone; elsewhere nothing is set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait until the body is done, which must not be left half done; for what takes a moment."""
    waiting: list[int] = []
    try:
        with handled_by(lambda number, frame: waiting.append(number)):
            yield
    finally:
        if waiting:
            signal.raise_signal(waiting[0])


class Interrupts:
    """While the body runs: ``asked`` turns true at the first signal; the second raises KeyboardInterrupt."""

    def __init__(
        self, message: str = "stopping: a checkpoint is written; again to stop at once without one"
    ) -> None:
        self.asked = False
        self._message = message
        self._pid = os.getpid()
        self._handlers = handled_by(self._on_signal)

    def __enter__(self) -> Interrupts:
        self._handlers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handlers.__exit__(None, None, None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a loader process, before it has handlers of its own
        if repeated():
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        sys.stderr.write(f"\n{self._message}\n")
