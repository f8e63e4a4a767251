"""What a search shows while it runs: on a terminal a table of the trials, elsewhere a line for each
that ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.engine.search.journal import Trial
from cvflow.space import short_names

SHOWN = 12
"""Trials in the table: those that run, and the best."""


class TrialsConsole:
    """Listens to a conductor. stream: stderr by default."""

    def __init__(self, conductor: Conductor, stream: TextIO | None = None) -> None:
        self._conductor, self._stream = conductor, stream or sys.stderr
        self._began, self._before = time.monotonic(), self._ended()
        self._live: Live | None = None

    def __enter__(self) -> TrialsConsole:
        if self._before:
            self._write(f"going on: {self._before} of {self._conductor.samples} trials have ended")
        if self._stream.isatty() and not self._conductor.finished:
            self._live = Live(
                console=Console(file=self._stream), get_renderable=self.table, refresh_per_second=2
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, trial: Trial) -> None:
        """News of a trial."""
        if self._live is None and trial.ended:
            so_far = f"{self._ended()}/{self._conductor.samples}"
            self._write(
                "  ".join(
                    [f"trial {trial.number:3}", so_far, outcome(trial), words(trial.params), self.standing()]
                )
            )

    def standing(self) -> str:
        """The best so far, and how long it may still take."""
        left = self._conductor.samples - self._ended()
        done = self._ended() - self._before
        eta = (
            f"ETA {timedelta(seconds=round((time.monotonic() - self._began) / done * left))}"
            if done and left
            else ""
        )
        best = ranked(self._conductor.trials, self._conductor.objective)[:1]
        best_text = [f"best {trial.score:.4f} (trial {trial.number})" for trial in best]
        return "  ".join(filter(None, [*best_text, eta]))

    def table(self) -> Table:
        """The trials that run, then the best of those that ended."""
        conductor = self._conductor
        running = [trial for trial in conductor.trials if not trial.ended]
        best = [trial for trial in ranked(conductor.trials, conductor.objective) if trial.ended][
            : max(1, SHOWN - len(running))
        ]
        title = f"{self._ended()} of {conductor.samples} trials  {self.standing()}"
        table = Table(
            "trial",
            "state",
            conductor.score_name,
            "epochs",
            "params",
            title=title,
            title_justify="left",
            box=None,
        )
        for trial in [*running, *best]:
            score = "" if trial.score is None else f"{trial.score:.4f}"
            table.add_row(
                str(trial.number),
                "runs" if not trial.ended else trial.state,
                score,
                str(trial.epochs),
                words(trial.params),
            )
        return table

    def _ended(self) -> int:
        return sum(trial.ended for trial in self._conductor.trials)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def outcome(trial: Trial) -> str:
    """How a trial ended, in a word and a number."""
    if trial.score is None:
        return f"{trial.state}: {trial.reason.splitlines()[0] if trial.reason else ''}"
    early = " (stopped)" if trial.state == "stopped" else ""
    return f"{trial.score:.4f} after {trial.epochs} epochs{early}"


def words(params: Mapping[str, Any]) -> str:
    """``lr=0.01 momentum=0.9``."""
    return " ".join(f"{name}={number(params[key])}" for key, name in short_names(params).items())


def number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
