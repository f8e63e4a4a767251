"""Trials of a search in Ray Tune's actors, which are used again from trial to trial.

The only module that imports ray.tune.

Tune runs trials and schedules them; what is tried, and what became of it, is the conductor's, whose
journal outlives a kill.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm, Searcher, SearchGenerator

from cvflow.config import Compute, Search
from cvflow.engine.search.conductor import Conductor
from cvflow.engine.search.journal import SOURCE
from cvflow.errors import Fault, RequestError
from cvflow.plugins import loaded_plugins
from cvflow.runtime.cluster import connect, resources, uses_gpu
from cvflow.runtime.interrupts import Interrupts
from cvflow.runtime.population import SeededPopulation
from cvflow.runtime.schedulers import EPOCH, SCORE
from cvflow.runtime.trial import RAY, STOP, own_folder, run_trial

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # how a trial ended is no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the journal is what a search resumes from
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}


@dataclass(frozen=True)
class Before:
    """A trial of an earlier session, as far as a scheduler looks at it."""

    trial_id: str


class HereOnly:
    """Tune pickles its set-up to restore it from: here the journal is that, so nothing of this is kept."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


class Asker(HereOnly, Searcher):
    """Tune's searcher: asks the conductor."""

    def __init__(self, conductor: Conductor, recipe_of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(metric=SCORE, mode="max")
        self.conductor, self.numbers, self._recipe_of = conductor, dict[str, int](), recipe_of

    def suggest(self, trial_id: str) -> Any:
        while not self.conductor.finished:
            trial = self.conductor.ask()
            if trial is None:
                return Searcher.FINISHED if self.conductor.finished else None
            try:
                self._recipe_of(trial.params)
            except RequestError as error:
                self.conductor.end(trial.number, "failed", str(error))
                continue
            self.numbers[trial_id] = trial.number
            own_folder(self.conductor.folder, trial_id, trial.number)
            return {"params": trial.params}
        return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if error or result is None:
            return  # Lost takes it down, which knows why
        end = result.get("end", "done")
        if end != "interrupted":
            self.conductor.end(self.numbers[trial_id], end, result.get("reason", ""))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class Population(HereOnly, SearchAlgorithm):
    """The same for population-based training, which Tune lets nothing ask that it knows for a
    searcher, and draws for itself.
    """

    def __init__(self, asker: Asker) -> None:
        self._inner = SearchGenerator(asker)
        self._inner.set_search_properties(SCORE, "max", {})

    def add_configurations(self, experiments: Any) -> None:
        self._inner.add_configurations(experiments)

    def next_trial(self) -> Any:
        return self._inner.next_trial()  # type: ignore[no-untyped-call]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._inner.on_trial_complete(trial_id, result, error)

    def is_finished(self) -> bool:
        return bool(self._inner.is_finished())

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Nothing: the journal is the state."""


class Listener(HereOnly, tune.Callback):
    """Tells the conductor of epochs, of params that population-based training changed, and of
    trials whose process died.
    """

    def __init__(self, asker: Asker, sign: float) -> None:
        self._asker, self._sign = asker, sign

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if EPOCH not in result:
            return
        number = self._asker.numbers[trial.trial_id]
        trial_now, params, source = (
            self._asker.conductor.trials[number],
            result["config"]["params"],
            result.get(SOURCE),
        )
        if params != trial_now.params or source not in (None, trial_now.source):
            self._asker.conductor.journal.changed(number, params, source)
        self._asker.conductor.saw(number, result[EPOCH], self._sign * result[SCORE])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._asker.conductor.end(self._asker.numbers[trial.trial_id], "failed", _why(trial))


class Gentle(HereOnly, TrialScheduler):
    """Another scheduler whose "stop" is a request to the trial, which ends by itself: nothing is
    torn down under it.

    What trials of an earlier session reported is told to the scheduler first.
    """

    def __init__(self, inner: TrialScheduler, asker: Asker, sign: float) -> None:
        self._inner, self._asker = inner, asker
        for trial in asker.conductor.trials:
            self._tell(trial.number, sign, trial.ended)

    def _tell(self, number: int, sign: float, ended: bool) -> None:
        """Repeat a trial's epochs to the scheduler, as a trial of this session would report them."""
        conductor = self._asker.conductor
        stand_in: Any = Before(f"before{number}")
        nobody: Any = None
        results = [
            {EPOCH: epoch, SCORE: sign * metrics[conductor.score_name]}
            for epoch, metrics in conductor.scores(number).items()
        ]
        if not (results and ended):
            return
        self._inner.on_trial_add(nobody, stand_in)
        for result in results:
            self._inner.on_trial_result(nobody, stand_in, result)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if EPOCH not in result or "end" in result:
            return str(self.CONTINUE)
        stop_file = self._asker.conductor.trial_folder(self._asker.numbers[trial.trial_id]) / STOP
        # it does not wait for the answer; the scheduler takes it for ended
        if stop_file.exists():
            return str(self.CONTINUE)
        decision = self._inner.on_trial_result(tune_controller, trial, result)
        if decision != self.STOP:
            return str(decision)
        stop_file.touch()
        return str(self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The scheduler has heard all epochs; the last result is one of them again."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return self._inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return str(self._inner.debug_string())


def run_trials(
    conductor: Conductor,
    scheduler: TrialScheduler,
    work: Callable[..., Any],
    recipe_of: Callable[[dict[str, Any]], dict[str, Any]],
    compute: Compute,
    dataset: str,
) -> None:
    """Run ``work(session, recipe=..., dataset=...)`` for each trial until the conductor has no more.

    recipe_of: params -> the trial's whole recipe as plain data; RequestError where they make none.
    After Ctrl-C the trials that run write a checkpoint, and are left open in the journal.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    connect(compute)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    search, folder = conductor.search, conductor.folder
    (folder / STOP).unlink(missing_ok=True)
    exploits = isinstance(scheduler, SeededPopulation)
    if isinstance(scheduler, SeededPopulation):
        scheduler.seed(search.seed)
    waits = search.scheduler.name != "none"  # else nothing ends a trial by its epochs
    sign = 1.0 if conductor.objective.direction == "max" else -1.0
    asker = Asker(conductor, recipe_of)
    shared = {
        "work": work,
        "recipe_of": recipe_of,
        "dataset": dataset,
        "folder": str(folder),
        "plugins": loaded_plugins(),
        "compute": compute.model_dump(mode="json"),
        "cpus": search.cpus,
        "metric": conductor.score_name,
        "sign": sign,
        "exploits": exploits,
        "waits": waits,
    }
    scratch, name, room = folder / RAY, uuid.uuid4().hex, at_once(search, compute)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, shared=shared), needs(search, compute)),
        tune_config=tune.TuneConfig(
            search_alg=Population(asker) if exploits else asker,
            scheduler=scheduler if exploits else Gentle(scheduler, asker, sign),
            num_samples=-1,
            max_concurrent_trials=None if exploits else room,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(scratch), name=name, verbose=0, callbacks=[Listener(asker, sign)]
        ),
    )
    try:
        with Interrupts(
            "stopping: the trials that run write a checkpoint; again to stop at once without one"
        ) as interrupts:
            _fit(tuner, interrupts, conductor)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fit(tuner: tune.Tuner, interrupts: Interrupts, conductor: Conductor) -> None:
    """``tuner.fit()`` beside the main thread, which hears signals and passes them on as a file that
    every trial looks for.
    """
    fitting: Future[Any] = Future()

    def fit() -> None:
        try:
            fitting.set_result(tuner.fit())
        except BaseException as error:
            fitting.set_exception(error)

    threading.Thread(target=fit, name="ray-tune-fit", daemon=True).start()
    while not wait([fitting], timeout=0.2).done:
        if interrupts.asked and not conductor.closed:
            conductor.closed = "interrupted"
        if conductor.closed == "interrupted":
            (conductor.folder / STOP).touch()
    fitting.result()


def needs(search: Search, compute: Compute) -> dict[str, float]:
    """Resources of a trial.

    One on several workers holds next to none itself (Tune wants something): they bring their own.
    """
    if compute.most > 1:
        return {"memory": 1 << 20}
    gpu = {"gpu": search.gpus} if uses_gpu(compute) and search.gpus else {}
    return {"cpu": search.cpus, **gpu}


def at_once(search: Search, compute: Compute) -> int:
    """How many trials may run side by side.

    Raises RequestError where not even one can: Ray would wait for ever.
    """
    have = resources()
    if compute.most > 1:
        unit = "GPU" if uses_gpu(compute) else "CPU"
        room = int(have.get(unit, 0) // compute.least)
        fault = Fault(
            "compute.workers", str(compute.most), f"at most {have.get(unit, 0):g}, the {unit}s there are"
        )
    else:
        room = int(
            min(have.get(name.upper(), 0) // amount for name, amount in needs(search, compute).items())
        )
        fault = Fault(
            "search.cpus",
            f"{search.cpus:g} a trial",
            f"at most {have.get('CPU', 0):g}, the CPUs there are",
            "Type search.cpus=1.",
        )
    if room < 1:
        raise RequestError(fault)
    return min(search.concurrency, room)


def _why(trial: Any) -> str:
    """The reason of a trial whose process could not say it itself: killed, or out of memory.

    Tune has just written it down.
    """
    pickled, text = (Path(file) if file else None for file in (trial.pickled_error_file, trial.error_file))
    error = cloudpickle.loads(pickled.read_bytes()) if pickled and pickled.exists() else None
    if isinstance(error, ray.exceptions.RayActorError):
        return "its process died (killed, or out of memory)"
    lines = text.read_text().strip().splitlines() if text and text.exists() else []
    return lines[-1] if lines else "its process failed, and left no word"
