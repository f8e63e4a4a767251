"""The metrics of a training, sent to MLflow in batches beside it, from the file that the training writes."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from cvflow.runtime.tracking import _name, _warn
from cvflow.runtime.tracking_uri import (
    connect,
)
from cvflow.runtime.tracking_uri import tracking_uri as tracking_uri

METRICS_A_CALL = 1000


CHUNK = 1 << 20


LONGEST_WAIT = 60.0


class Tail:
    """Sends a history file's points to MLflow while the body runs: in the background, in batches, each once.

    run: the run's id, or a function that opens the run; in the background too, and again until
    MLflow answers. every: seconds between looks. patience: seconds that the last attempt may take;
    what it leaves is sent by the next Tail of this file. ``<history>.sent`` holds how far a run's
    points were sent. A kill between a send and that note repeats the batch: MLflow keeps one row
    for each (run, key, step, time, value), in SQLite by its primary key, and drops exact repeats.
    """

    def __init__(
        self, history: Path, run: str | Callable[[], str], *, every: float = 2.0, patience: float = 20.0
    ) -> None:
        self.history = history.absolute()
        self.run_id = run if isinstance(run, str) else None
        self._run, self._every, self._patience = run, every, patience
        self._note = self.history.with_name(self.history.name + ".sent")
        self._done, self._warned = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="mlflow-tail", daemon=True)

    def __enter__(self) -> Tail:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(self._patience)
        if self.behind:
            sys.stderr.write(f"not all points are in MLflow yet; they are kept in {self.history}\n")

    @property
    def behind(self) -> bool:
        """Whether there are points that the last attempt left unsent."""
        return self._warned or self._thread.is_alive()

    def _work(self) -> None:
        # at first the training needs the processor for its own start
        last, wait = False, self._every
        while not last:
            last = self._done.wait(wait)
            try:
                self._send_new()
                wait, self._warned = self._every, False
            except Exception as error:  # whatever a client raises, the training goes on
                wait = min(LONGEST_WAIT, max(1.0, 2 * wait))
                if not self._warned:
                    _warn("the training goes on, its points are sent later", error)
                self._warned = True

    def _send_new(self) -> None:
        if self.run_id is None:
            assert callable(self._run)  # noqa: S101
            self.run_id = self._run()
        client, offset = connect(), self._offset()
        while lines := self._read(offset):
            points = metrics_in(lines)
            for first in range(0, len(points), METRICS_A_CALL):
                client.log_batch(self.run_id, metrics=points[first : first + METRICS_A_CALL])
            offset += len(lines)
            _replace(self._note, json.dumps({"run_id": self.run_id, "offset": offset}))

    def _read(self, offset: int) -> bytes:
        """Whole lines from the byte offset on, at most a chunk; a line half written is left for the
        next look.
        """
        if not self.history.exists():
            return b""
        with self.history.open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
        return data[: data.rfind(b"\n") + 1]

    def _offset(self) -> int:
        """Bytes sent to this run; 0 where the note is another run's, or of a longer file that this
        one replaced.
        """
        try:
            note = json.loads(self._note.read_text())
            is_ours = note["run_id"] == self.run_id and note["offset"] <= self.history.stat().st_size
            return int(note["offset"]) if is_ours else 0
        except (OSError, ValueError, KeyError):
            return 0


def metrics_in(lines: bytes) -> list[Any]:
    """The points of whole history lines as MLflow metrics; MLflow's times are milliseconds."""
    from mlflow.entities import Metric

    points = [json.loads(line) for line in lines.splitlines()]
    return [
        Metric(_name(k), float(v), round(1000 * p["time"]), p["step"])
        for p in points
        for k, v in p["metrics"].items()
    ]


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, whenever the process is killed."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text)
    os.replace(aside, path)
