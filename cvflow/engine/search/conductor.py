"""Says which trial comes next, and takes down how each ended: all of a search that is not the running of trials."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cvflow.config import Search
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import read_history
from cvflow.engine.search.journal import PARAMS, SOURCE, Journal, State, Trial
from cvflow.engine.search.trials import Algorithm
from cvflow.types import Objective

SAMPLES = 20
"""Trials where the recipe names no number."""


@dataclass
class Conductor:
    """folder: the search's state, absolute, with a folder a trial. listen: called with each trial whose news there are."""

    search: Search
    objective: Objective
    algorithm: Algorithm
    folder: Path
    listen: list[Callable[[Trial], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder / "journal.jsonl")
        self.samples = min(
            self.search.samples or self.algorithm.size or SAMPLES,
            self.algorithm.size or self.search.samples or SAMPLES,
        )
        self.closed = ""
        self._left = [trial for trial in self.trials if not trial.ended]
        self._began = time.monotonic()
        self._since: dict[int, float] = {}

    @property
    def trials(self) -> list[Trial]:
        return self.journal.trials

    @property
    def finished(self) -> bool:
        """Whether no further trial begins."""
        return bool(self.closed) or (not self._left and len(self.trials) >= self.samples)

    def ask(self) -> Trial | None:
        """The trial to run next: one that was broken off, or a new one; None where there is none at present, or any more."""
        self._check_limits()
        if self.finished:
            return None
        if self._left:
            trial: Trial | None = self._as_it_was(self._left.pop(0))
        else:
            trial = self.journal.suggest(
                self.algorithm, self.search.concurrency, self.objective.direction == "max"
            )
        if trial is not None:
            self._since[trial.number] = time.monotonic()
            self._tell(trial)
        return trial

    def _as_it_was(self, trial: Trial) -> Trial:
        """A trial broken off, with the params of its checkpoint: population-based training may have changed them unheard."""
        checkpoint = CheckpointStore(self.trial_folder(trial.number) / "checkpoints").latest()
        state = checkpoint.state if checkpoint else {}
        if state.get(PARAMS, trial.params) != trial.params:
            source = state[SOURCE] if state[SOURCE] != trial.number else trial.source
            self.journal.changed(trial.number, state[PARAMS], source)
        return trial

    def _check_limits(self) -> None:
        hours, epochs = self.search.max_hours, self.search.max_epochs
        if hours is not None and time.monotonic() - self._began > 3600 * hours:
            self.closed = f"search.max_hours={hours:g} are over"
        if epochs is not None and sum(trial.epochs for trial in self.trials) >= epochs:
            self.closed = f"search.max_epochs={epochs} are used up"

    def saw(self, number: int, epoch: int, score: float) -> None:
        """An open trial has done an epoch."""
        trial = self.trials[number]
        trial.epochs = max(trial.epochs, epoch)
        if trial.score is None or self.objective.better(score, trial.score):
            trial.score, trial.epoch = score, epoch
        self._tell(trial)

    def end(self, number: int, state: State, reason: str = "") -> None:
        """Take down a trial's end: what it reached is read from its history, its checkpoints go."""
        scores = self.scores(number)
        trial = self.trials[number]
        seconds = trial.seconds + time.monotonic() - self._since.get(number, time.monotonic())
        if state == "done" and not scores:
            state, reason = "failed", f"it reported no epoch with a finite {self.score_name}"
        if scores and state != "failed":
            epoch, metrics = self._best(scores)
            reached = {"score": metrics[self.score_name], "epoch": epoch, "metrics": metrics}
        else:
            reached = {"score": None, "epoch": 0, "metrics": {}}
        self.journal.end(
            number, state, reason=reason, epochs=max(scores, default=0), seconds=round(seconds, 3), **reached
        )
        shutil.rmtree(self.trial_folder(number) / "checkpoints", ignore_errors=True)
        self._tell(trial)

    @property
    def score_name(self) -> str:
        return f"val_{self.objective.metric}"

    def scores(self, number: int) -> dict[int, dict[str, float]]:
        """epoch -> val metrics, of a trial's history; epochs without a finite score are left out."""
        points = (point.metrics for _, point in read_history(self.trial_folder(number) / "history.jsonl"))
        summaries = {
            round(m["epoch"]): {k: v for k, v in m.items() if k.startswith("val_")}
            for m in points
            if "epoch" in m
        }
        return {
            epoch: metrics
            for epoch, metrics in summaries.items()
            if math.isfinite(metrics.get(self.score_name, math.nan))
        }

    def _best(self, scores: dict[int, dict[str, float]]) -> tuple[int, dict[str, float]]:
        """The epoch that counts and its metrics; of equals the later, as the engine keeps."""
        sign = 1.0 if self.objective.direction == "max" else -1.0
        best = max(scores, key=lambda epoch: (sign * scores[epoch][self.score_name], epoch))
        return best, scores[best]

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04}"

    def _tell(self, trial: Trial) -> None:
        for listener in self.listen:
            listener(trial)


def ranked(trials: list[Trial], objective: Objective) -> list[Trial]:
    """The trials with a score, best first; of equals the earlier. One that still runs, or was broken off, has its best epoch's."""
    sign = -1.0 if objective.direction == "max" else 1.0
    scored = [trial for trial in trials if trial.score is not None]
    return sorted(scored, key=lambda trial: (sign * (trial.score or 0.0), trial.number))
