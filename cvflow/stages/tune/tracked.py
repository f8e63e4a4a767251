"""The search in MLflow: a parent run, and in it a run for each ended trial, found by fingerprint."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType

from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.engine.search.journal import Trial
from cvflow.project.graph import Run
from cvflow.runtime.metrics_tail import Tail
from cvflow.runtime.tracking import describe_run, find_run, finish_run, log_files, log_results, open_run
from cvflow.runtime.tracking_uri import first_line
from cvflow.stages.train.mlflow_run import experiment, opened

SENT = "sent"
"""A file of this name in a trial's folder: MLflow has all of it."""
UNSENT = "search-unsent"
"""A file of this name in a run's state: MLflow lacks trials of its search."""
REST = 60.0
"""Seconds for which MLflow is left alone after it did not answer."""


class Tracker:
    """Sends trials in the background, one after the other, each when it has ended.

    MLflow may be away: the search goes on, and what could not be sent is sent at its end. If MLflow is
    away then too, the same command sends it later.
    """

    def __init__(self, run: Run, conductor: Conductor, key: str, dataset: PreparedDataset) -> None:
        self._run = run
        self._conductor = conductor
        self._key = key
        self._dataset = dataset
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mlflow-search")
        self._parent: str | None = None
        self._warned = False
        self._rests_until = 0.0
        self._unsent = run.state / UNSENT

    def __enter__(self) -> Tracker:
        # while the processes of the first trials start
        self._pool.submit(self._try, self._open)
        for trial in self._conductor.trials:
            self.follow(trial)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=kind is None)
        finish_run(self._parent, self._status(kind))

    def _status(self, kind: type[BaseException] | None) -> str:
        """Return how the parent run ended, in MLflow's words. kind: of the error that ended the search."""
        if kind is not None:
            return "FAILED"
        if self._conductor.closed == "interrupted":
            return "KILLED"
        return "FINISHED"

    def follow(self, trial: Trial) -> None:
        """Send a trial in the background if it has ended; called whenever it changes."""
        if self._is_unsent(trial):
            self._pool.submit(self._try, partial(self._send, trial))

    def log_page(self, page: str) -> None:
        """Send what is missing, then the page and the best score to the parent run; wait for it."""
        self._pool.submit(self._finish, page).result()

    def _finish(self, page: str) -> None:
        try:
            self._unsent.parent.mkdir(parents=True, exist_ok=True)
            self._unsent.touch()
            parent = self._open()
            for trial in self._conductor.trials:
                if self._is_unsent(trial):
                    self._send(trial)
            order = ranked(self._conductor.trials, self._conductor.objective)
            log_results(parent, order[0].metrics if order else {})
            log_files(parent, {"search.html": page})
            self._unsent.unlink()
        # a finished search must survive whatever a client raises
        except Exception as error:
            self._warn(error)

    def _try(self, call: Callable[[], object]) -> None:
        """Call unless MLflow did not answer a short time ago."""
        if time.monotonic() < self._rests_until:
            return
        try:
            call()
        except Exception as error:  # the search must survive whatever a client raises
            self._rests_until = time.monotonic() + REST
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Warn once."""
        if not self._warned:
            reason = first_line(error)
            warning = f"warning: MLflow lacks trials of this search; they are sent later ({reason})\n"
            sys.stderr.write(warning)
        self._warned = True

    def _open(self) -> str:
        """Find or make the parent run; return its id."""
        if self._parent is None:
            parent = find_run(experiment(self._run), self._key)
            self._parent = parent or opened(self._run, self._key, self._dataset.digest)
        return self._parent

    def _send(self, trial: Trial) -> None:
        """Send a trial: its description, its history and its best epoch's metrics."""
        parent = self._open()
        fingerprint = f"{self._key}-{trial.number:04}"
        # found again by its fingerprint, however often it is sent
        run_id = open_run(experiment(self._run), fingerprint, f"trial {trial.number}", parent)
        self._describe(run_id, trial)
        history = self._conductor.trial_folder(trial.number) / "history.jsonl"
        with Tail(history, run_id) as tail:
            pass
        if tail.behind:
            raise ConnectionError("MLflow does not answer")
        log_results(run_id, {f"best_{name}": value for name, value in trial.metrics.items()})
        finish_run(run_id, "FAILED" if trial.state == "failed" else "FINISHED")
        note = self._note(trial)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def _describe(self, run_id: str, trial: Trial) -> None:
        """Log the trial's params, its dataset and tags."""
        tags = {
            "algorithm": self._conductor.search.algorithm.name,
            "trial": trial.number,
            "trial_state": trial.state,
            **trial.tags,
        }
        if trial.reason:
            tags["reason"] = trial.reason
        name = self._run.name
        describe_run(
            run_id,
            recipe=trial.params,
            dataset=(name, self._dataset.digest, name, dict(self._dataset.info.counts)),
            tags={f"cvflow.{key}": str(value) for key, value in tags.items()},
            files=[],
        )

    def _is_unsent(self, trial: Trial) -> bool:
        return trial.ended and not self._note(trial).exists()

    def _note(self, trial: Trial) -> Path:
        return self._conductor.trial_folder(trial.number) / SENT
