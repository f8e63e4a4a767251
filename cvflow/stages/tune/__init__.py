"""tune: better settings for the prepared dataset, found by trials; resumed where it was broken off."""

from __future__ import annotations

import hashlib
import json
from functools import partial

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.project.graph import STATE, TUNE, Run, lookup
from cvflow.project.project import locked
from cvflow.registry import build
from cvflow.stages.tune.check import algorithm_of, check_models, check_search, search_objective
from cvflow.stages.tune.result import write_results
from cvflow.stages.tune.tracked import Tracker
from cvflow.stages.tune.trial_recipe import trial_recipe, trial_worker

OPEN_KEYS = {"samples", "max_hours", "max_epochs", "cpus", "gpus"}
"""Keys of search that may change between two commands: the same search goes on."""


def tune(run: Run) -> None:
    """Write ``runs/<name>/search``; the journal and what unfinished trials need live in ``.cvflow/tune/<key>``.

    Raises InterruptedRunError after Ctrl-C, CvflowError where every trial failed: what there is, is written before.
    """
    search, dataset = run.recipe.search, PreparedDataset(run.path("data"))
    check_search(run.resolved, search)
    objective = search_objective(run.resolved, search, dataset)
    check_models(run.resolved, search, dataset)
    key = search_key(run, dataset.digest)
    folder = (run.recipe.compute.storage or STATE).absolute() / "tune" / key
    with locked(f"tune-{key}"):
        conductor = Conductor(search, objective, algorithm_of(run.resolved, search), folder)
        search_in(run, conductor, dataset, key)


def search_in(run: Run, conductor: Conductor, dataset: PreparedDataset, key: str) -> None:
    """Run what is left of the search, and write what it found, however it ends."""
    from cvflow.runtime.trials_console import TrialsConsole  # with rich and ray: only where trials run

    with Tracker(run, conductor, key, dataset) as tracker, TrialsConsole(conductor) as console:
        conductor.listen += [console.show, tracker.follow]
        try:
            if not conductor.finished:
                run_all(run, conductor, dataset)
        finally:
            page = write_results(run, conductor)
            tracker.log_page(page)
    check_found(conductor)


def check_found(conductor: Conductor) -> None:
    """Raise InterruptedRunError after Ctrl-C, CvflowError where no trial has a score."""
    if conductor.closed == "interrupted":
        raise InterruptedRunError("interrupted; the same command goes on from there")
    if not conductor.trials:
        raise CvflowError(f"no trial began: {conductor.closed}. With a higher limit the same command begins.")
    if not ranked(conductor.trials, conductor.objective):
        reasons = sorted({trial.reason for trial in conductor.trials if trial.reason})
        raise CvflowError(f"all {len(conductor.trials)} trials failed:\n" + "\n".join(reasons[:5]))


def run_all(run: Run, conductor: Conductor, dataset: PreparedDataset) -> None:
    from cvflow.runtime.ray_tune import run_trials

    scheduler = build(
        "scheduler", conductor.search.scheduler, most_epochs(run.recipe), conductor.search.space
    )
    run_trials(
        conductor, scheduler, trial_worker, partial(trial_recipe, run.resolved), run.recipe.compute,
        str(dataset.path.absolute()),
    )  # fmt: skip


def most_epochs(recipe: Recipe) -> int:
    """The epochs of the longest trial."""
    searched = recipe.search.space.get("train.epochs")
    own = sum(phase.epochs for phase in recipe.train.plan())
    return max(own, *searched.values) if searched is not None else own


def search_key(run: Run, digest: str) -> str:
    """32 hex digits of all that the search's suggestions and their results depend on."""
    read = {key: lookup(run.resolved, key) for key in TUNE.keys}
    read["search"] = {key: value for key, value in read["search"].items() if key not in OPEN_KEYS}
    return hashlib.sha256(json.dumps(["tune", digest, read], sort_keys=True).encode()).hexdigest()[:32]
