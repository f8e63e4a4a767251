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
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from cvflow.config import Compute, Search
from cvflow.engine.search.conductor import Conductor
from cvflow.errors import Fault, RequestError
from cvflow.plugins import loaded_plugins
from cvflow.runtime.cluster import connect, resources, uses_gpu
from cvflow.runtime.interrupts import Interrupts
from cvflow.runtime.population import SeededPopulation
from cvflow.runtime.trial import RAY, STOP, run_trial
from cvflow.runtime.tune_adapters import Asker, Gentle, Listener, Population

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # how a trial ended is no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the journal is what a search resumes from
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}


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
