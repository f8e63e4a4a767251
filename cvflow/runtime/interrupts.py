"""SIGINT and SIGTERM: the first asks the work to stop where nothing is lost, the second stops it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


TOGETHER = 1.0
"""Seconds within which two signals are one: what goes to a whole process group comes by way of ``cvflow run`` as well."""


class Interrupts:
    """While the body runs: ``asked`` turns true at the first signal; the second raises KeyboardInterrupt.

    Python hands signals to its main thread alone; elsewhere nothing is heard.
    """

    def __init__(self, said: str = "stopping: a checkpoint is written; again to stop at once without one") -> None:
        self.asked = False
        self._first = 0.0
        self._said = said
        self._pid = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a loader process, before it has handlers of its own
        if self.asked and time.monotonic() - self._first > TOGETHER:
            raise KeyboardInterrupt
        if self.asked:
            return
        self.asked, self._first = True, time.monotonic()
        sys.stderr.write(f"\n{self._said}\n")
