"""The search in MLflow: a parent run, and in it a run for each trial that ended, found again by fingerprint."""

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
from cvflow.runtime.tracking import Tail, describe_run, find_run, finish_run, log_files, log_results, open_run
from cvflow.runtime.tracking_uri import first_line
from cvflow.stages.train.mlflow_run import experiment, opened

SENT = "sent"
"""A file of this name in a trial's folder: MLflow has all of it."""
UNSENT = "search-unsent"
"""A file of this name in a run's state: MLflow lacks trials of its search."""
REST = 60.0
"""Seconds for which MLflow is left alone where it did not answer."""


class Tracker:
    """Sends trials in the background, one after the other, each when it has ended; at the end what was left.

    MLflow may be away: the search goes on, and where MLflow is away at the end too, the same command sends what is missing.
    """

    def __init__(self, run: Run, conductor: Conductor, key: str, dataset: PreparedDataset) -> None:
        self._run, self._conductor, self._key, self._dataset = run, conductor, key, dataset
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mlflow-search")
        self._parent: str | None = None
        self._silent, self._rests_until = False, 0.0
        self._unsent = run.state / UNSENT

    def __enter__(self) -> Tracker:
        self._pool.submit(self._try, self._open)  # while the first trials' processes start
        for trial in self._conductor.trials:
            self.follow(trial)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=kind is None)
        ended = "KILLED" if self._conductor.closed == "interrupted" else "FINISHED"
        finish_run(self._parent, ended if kind is None else "FAILED")

    def follow(self, trial: Trial) -> None:
        """News of a trial: one that ended is sent."""
        if trial.ended and not self._note(trial).exists():
            self._pool.submit(self._try, partial(self._send, trial))

    def log_page(self, page: str) -> None:
        """The report, and the best score as a metric of the parent; when all trials are there."""
        self._pool.submit(self._finish, page).result()

    def _finish(self, page: str) -> None:
        try:
            self._unsent.parent.mkdir(parents=True, exist_ok=True)
            self._unsent.touch()
            parent = self._open()
            for trial in self._conductor.trials:
                if trial.ended and not self._note(trial).exists():
                    self._send(trial)
            best = ranked(self._conductor.trials, self._conductor.objective)[:1]
            log_results(parent, {name: value for trial in best for name, value in trial.metrics.items()})
            log_files(parent, {"search.html": page})
            self._unsent.unlink()
        except Exception as error:  # whatever a client raises, a finished search is not to be lost by it
            self._warn(error)

    def _try(self, call: Callable[[], object]) -> None:
        if time.monotonic() < self._rests_until:
            return
        try:
            call()
        except Exception as error:  # as above
            self._rests_until = time.monotonic() + REST
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._silent:
            sys.stderr.write(
                f"warning: MLflow lacks trials of this search; they are sent later ({first_line(error)})\n"
            )
        self._silent = True

    def _open(self) -> str:
        if self._parent is None:
            self._parent = find_run(experiment(self._run), self._key) or opened(
                self._run, self._key, self._dataset.digest
            )
        return self._parent

    def _send(self, trial: Trial) -> None:
        parent = self._open()
        run_id = open_run(
            experiment(self._run), f"{self._key}-{trial.number:04}", f"trial {trial.number}", parent
        )
        tags = {
            "algorithm": self._conductor.search.algorithm.name,
            "trial": trial.number,
            "trial_state": trial.state,
            **trial.tags,
        }
        if trial.reason:
            tags["reason"] = trial.reason
        describe_run(
            run_id,
            recipe=trial.params,
            dataset=(self._run.name, self._dataset.digest, self._run.name, dict(self._dataset.info.counts)),
            tags={f"cvflow.{key}": str(value) for key, value in tags.items()},
            files=[],
        )
        with Tail(self._conductor.trial_folder(trial.number) / "history.jsonl", run_id) as tail:
            pass
        if tail.behind:
            raise ConnectionError("MLflow does not answer")
        log_results(run_id, {f"best_{name}": value for name, value in trial.metrics.items()})
        finish_run(run_id, "FAILED" if trial.state == "failed" else "FINISHED")
        note = self._note(trial)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def _note(self, trial: Trial) -> Path:
        return self._conductor.trial_folder(trial.number) / SENT
