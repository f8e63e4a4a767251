"""Decides which trial comes next and records how each ended: a search without the running of trials."""

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
"""Trials of a search if the recipe names no number."""


@dataclass
class Conductor:
    """A search under way.

    folder: the search's state, absolute, with a folder for each trial. listen: callbacks, called with
    a trial whenever it changes. closed: why no further trial begins; empty while trials may.
    """

    search: Search
    objective: Objective
    algorithm: Algorithm
    folder: Path
    listen: list[Callable[[Trial], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder / "journal.jsonl")
        self.samples = number_of_trials(self.search.samples, self.algorithm.size)
        self.closed = ""
        # a search that was killed begins with its unfinished trials
        self._broken_off = [trial for trial in self.trials if not trial.ended]
        self._start = time.monotonic()
        self._trial_starts: dict[int, float] = {}

    @property
    def trials(self) -> list[Trial]:
        """All trials suggested so far, in order."""
        return self.journal.trials

    @property
    def finished(self) -> bool:
        """Whether no further trial begins."""
        if self.closed:
            return True
        return not self._broken_off and len(self.trials) >= self.samples

    def ask(self) -> Trial | None:
        """Return the trial to run next: one that was broken off, or a new one.

        None if there is no trial now, or no further one at all (see ``finished``).
        """
        self._check_limits()
        if self.finished:
            return None
        if self._broken_off:
            trial: Trial | None = self._resumed(self._broken_off.pop(0))
        else:
            higher = self.objective.direction == "max"
            trial = self.journal.suggest(self.algorithm, self.search.concurrency, higher)
        if trial is not None:
            self._trial_starts[trial.number] = time.monotonic()
            self._tell(trial)
        return trial

    def _resumed(self, trial: Trial) -> Trial:
        """Give a trial that was broken off the params of its checkpoint, and return it.

        Population-based training may have changed them before the journal learnt of it.
        """
        checkpoint = CheckpointStore(self.trial_folder(trial.number) / "checkpoints").latest()
        state = checkpoint.state if checkpoint else {}
        if state.get(PARAMS, trial.params) != trial.params:
            source = state[SOURCE] if state[SOURCE] != trial.number else trial.source
            self.journal.changed(trial.number, state[PARAMS], source)
        return trial

    def _check_limits(self) -> None:
        """Close the search if it has used up its hours or epochs."""
        hours, epochs = self.search.max_hours, self.search.max_epochs
        elapsed = time.monotonic() - self._start
        if hours is not None and elapsed > 3600 * hours:
            self.closed = f"search.max_hours={hours:g} are over"
        epochs_done = sum(trial.epochs for trial in self.trials)
        if epochs is not None and epochs_done >= epochs:
            self.closed = f"search.max_epochs={epochs} are used up"

    def saw(self, number: int, epoch: int, score: float) -> None:
        """Record that an open trial has done an epoch."""
        trial = self.trials[number]
        trial.epochs = max(trial.epochs, epoch)
        if trial.score is None or self.objective.better(score, trial.score):
            trial.score, trial.epoch = score, epoch
        self._tell(trial)

    def end(self, number: int, state: State, reason: str = "") -> None:
        """Record a trial's end; its results are read from its history, its checkpoints are removed."""
        scores = self.scores(number)
        trial = self.trials[number]
        now = time.monotonic()
        seconds = trial.seconds + now - self._trial_starts.get(number, now)
        if state == "done" and not scores:
            state = "failed"
            reason = f"it reported no epoch with a finite {self.score_name}"
        best_epoch, metrics = 0, dict[str, float]()
        if scores and state != "failed":
            best_epoch = self._best_epoch(scores)
            metrics = scores[best_epoch]
        self.journal.end(
            number,
            state,
            reason=reason,
            epochs=max(scores, default=0),
            seconds=round(seconds, 3),
            score=metrics.get(self.score_name),
            epoch=best_epoch,
            metrics=metrics,
        )
        shutil.rmtree(self.trial_folder(number) / "checkpoints", ignore_errors=True)
        self._tell(trial)

    @property
    def score_name(self) -> str:
        """The name of the compared metric in a history."""
        return f"val_{self.objective.metric}"

    def scores(self, number: int) -> dict[int, dict[str, float]]:
        """Read epoch -> val metrics from a trial's history, without epochs that have no finite score."""
        scores: dict[int, dict[str, float]] = {}
        for _, point in read_history(self.trial_folder(number) / "history.jsonl"):
            if "epoch" not in point.metrics:
                continue
            score = point.metrics.get(self.score_name, math.nan)
            if math.isfinite(score):
                epoch = round(point.metrics["epoch"])
                scores[epoch] = {k: v for k, v in point.metrics.items() if k.startswith("val_")}
        return scores

    def _best_epoch(self, scores: dict[int, dict[str, float]]) -> int:
        """Return the epoch with the best score; of equals the latest, as training keeps it."""
        sign = 1.0 if self.objective.direction == "max" else -1.0

        def rank(epoch: int) -> tuple[float, int]:
            return sign * scores[epoch][self.score_name], epoch

        return max(scores, key=rank)

    def trial_folder(self, number: int) -> Path:
        """Return the folder of a trial's history and checkpoints."""
        return self.folder / "trials" / f"{number:04}"

    def _tell(self, trial: Trial) -> None:
        for listener in self.listen:
            listener(trial)


def number_of_trials(samples: int | None, size: int | None) -> int:
    """Return how many trials a search has. samples: as asked for; size: how many there can be."""
    if samples and size:
        return min(samples, size)
    return samples or size or SAMPLES


def ranked(trials: list[Trial], objective: Objective) -> list[Trial]:
    """Return the trials with a score, best first; of equals the earliest.

    A trial that still runs, or was broken off, has the score of its best epoch so far.
    """
    sign = -1.0 if objective.direction == "max" else 1.0

    def rank(trial: Trial) -> tuple[float, int]:
        return sign * (trial.score or 0.0), trial.number

    scored = [trial for trial in trials if trial.score is not None]
    return sorted(scored, key=rank)
