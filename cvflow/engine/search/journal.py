"""The search's memory: ``journal.jsonl``, every suggestion and every end, synced to disk before anything follows from it.

What an algorithm suggests is a function of this file alone, so a search that was killed goes on as if it had not been.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cvflow.engine.search.trials import Algorithm, Params, Tried

SOURCE, PARAMS = "source", "params"
"""In the state of a trial's checkpoint: the trial that wrote it, and the params it had (those of who goes on from it)."""
State = Literal["open", "done", "stopped", "failed"]


@dataclass
class Trial:
    """One setting. state: open = suggested, not ended; stopped = ended early by the scheduler.

    params: as they are now, which population-based training changes; source: the trial whose weights it then took.
    score: the metric's value in its best epoch.
    """

    number: int
    suggested: Params
    tags: dict[str, Any]
    params: Params
    state: State = "open"
    score: float | None = None
    epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    source: int | None = None

    @property
    def ended(self) -> bool:
        return self.state != "open"


class Journal:
    """The trials of a search, in order, and the file that holds them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: list[Trial] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        for entry in _whole_lines(path):
            self._apply(entry)

    def suggest(self, algorithm: Algorithm, lag: int, higher: bool) -> Trial | None:
        """The next trial, written down; None where the algorithm has to wait for the end of the trial ``lag`` before it."""
        number = len(self.trials)
        known = max(0, number - lag + 1) if algorithm.uses_results else 0
        if not all(trial.ended for trial in self.trials[:known]):
            return None
        sign = 1.0 if higher else -1.0
        tried = [
            Tried(t.suggested, i < known, sign * t.score if i < known and t.score is not None else None)
            for i, t in enumerate(self.trials)
        ]
        params, tags = algorithm.suggest(tried)
        self._write({"event": "suggested", "trial": number, "params": params, "tags": tags})
        return self.trials[number]

    def changed(self, number: int, params: Mapping[str, Any], source: int | None) -> None:
        """Population-based training gave the trial other params, and the weights of trial ``source``."""
        self._write({"event": "changed", "trial": number, "params": dict(params), "source": source})

    def end(self, number: int, state: State, **said: Any) -> None:
        """The trial's end. said: fields of Trial."""
        self._write({"event": "ended", "trial": number, "state": state, **said})

    def _write(self, entry: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(entry)

    def _apply(self, entry: Mapping[str, Any]) -> None:
        said = {key: value for key, value in entry.items() if key not in ("event", "trial")}
        if entry["event"] == "suggested":
            self.trials.append(Trial(entry["trial"], said["params"], said["tags"], said["params"]))
            return
        for key, value in said.items():
            setattr(self.trials[entry["trial"]], key, value)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The entries; a last line cut short by a kill is dropped from the file."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]
