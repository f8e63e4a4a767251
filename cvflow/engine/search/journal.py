"""``journal.jsonl``: every suggestion and every end of a search, on disk before it has consequences.

What an algorithm suggests is a function of this file alone, so a search that was killed goes on as if
it had not been.
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
"""Keys in the state of a trial's checkpoint: the trial that wrote it, and the params to go on with."""
State = Literal["open", "done", "stopped", "failed"]


@dataclass
class Trial:
    """One setting, and what became of it.

    state: open = suggested, not ended; stopped = ended early by the scheduler. params: the present
    ones, which population-based training changes. source: the trial whose weights it then took.
    score: the metric's value in the best epoch.
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
        for entry in _read_entries(path):
            self._apply(entry)

    def suggest(self, algorithm: Algorithm, lag: int, higher: bool) -> Trial | None:
        """Write down the next trial and return it; None if the algorithm must wait for earlier ones.

        It needs the results of all trials but the last ``lag - 1``. higher: whether higher scores are
        better.
        """
        number = len(self.trials)
        num_visible = max(0, number - lag + 1) if algorithm.uses_results else 0
        if not all(trial.ended for trial in self.trials[:num_visible]):
            return None
        tried = self._as_seen(num_visible, 1.0 if higher else -1.0)
        params, tags = algorithm.suggest(tried)
        # written before the trial can run, so that a killed search knows it
        self._write({"event": "suggested", "trial": number, "params": params, "tags": tags})
        return self.trials[number]

    def _as_seen(self, num_visible: int, sign: float) -> list[Tried]:
        """Return the trials as an algorithm sees them, with the results of the first ``num_visible``."""
        tried = []
        for trial in self.trials[:num_visible]:
            score = None if trial.score is None else sign * trial.score
            tried.append(Tried(trial.suggested, visible=True, score=score))
        for trial in self.trials[num_visible:]:
            tried.append(Tried(trial.suggested))
        return tried

    def changed(self, number: int, params: Mapping[str, Any], source: int | None) -> None:
        """Write down a trial's new params, with which it goes on from the weights of trial ``source``."""
        self._write({"event": "changed", "trial": number, "params": dict(params), "source": source})

    def end(self, number: int, state: State, **results: Any) -> None:
        """Write down a trial's end. results: fields of Trial."""
        self._write({"event": "ended", "trial": number, "state": state, **results})

    def _write(self, entry: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(entry)

    def _apply(self, entry: Mapping[str, Any]) -> None:
        """Apply an entry of the file to the trials."""
        fields = dict(entry)
        event, number = fields.pop("event"), fields.pop("trial")
        if event == "suggested":
            params = fields["params"]
            self.trials.append(Trial(number, params, fields["tags"], params))
            return
        for name, value in fields.items():
            setattr(self.trials[number], name, value)


def _read_entries(path: Path) -> list[dict[str, Any]]:
    """Read the entries; a last line cut short by a kill is removed from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    complete = data[: data.rfind(b"\n") + 1]
    if complete != data:
        os.truncate(path, len(complete))
    return list(map(json.loads, complete.splitlines()))
