"""tune: better settings for the prepared dataset, found by trials; resumed where it was broken off."""

from __future__ import annotations

import hashlib
import json
from functools import partial

from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.project.graph import STATE, TUNE, Run, lookup
from cvflow.project.project import locked
from cvflow.registry import build
from cvflow.stages.tune.check import check_search
from cvflow.stages.tune.limits import most_epochs
from cvflow.stages.tune.models import check_models
from cvflow.stages.tune.objective import search_objective
from cvflow.stages.tune.result import write_results
from cvflow.stages.tune.space import algorithm_of
from cvflow.stages.tune.tracked import Tracker
from cvflow.stages.tune.trial_recipe import trial_recipe, trial_worker

OPEN_KEYS = {"samples", "max_hours", "max_epochs", "cpus", "gpus"}
"""Keys of search that may change between two commands: the same search goes on."""


def tune(run: Run) -> None:
    """Write ``runs/<name>/search``.

    The journal and what unfinished trials need are in ``.cvflow/tune/<key>``. Raises
    InterruptedRunError after Ctrl-C, CvflowError if every trial failed; the results so far are written
    before.
    """
    search = run.recipe.search
    dataset = PreparedDataset(run.path("data"))
    check_search(run.resolved, search)
    objective = search_objective(run.resolved, search, dataset)
    check_models(run.resolved, search, dataset)
    key = search_key(run, dataset.digest)
    state = (run.recipe.compute.storage or STATE).absolute()
    with locked(f"tune-{key}"):
        algorithm = algorithm_of(run.resolved, search)
        conductor = Conductor(search, objective, algorithm, state / "tune" / key)
        search_in(run, conductor, dataset, key)


def search_in(run: Run, conductor: Conductor, dataset: PreparedDataset, key: str) -> None:
    """Run the remaining trials of the search, and write its results, however it ends."""
    # with rich and ray: only where trials run
    from cvflow.runtime.trials_console import TrialsConsole

    with Tracker(run, conductor, key, dataset) as tracker, TrialsConsole(conductor) as console:
        conductor.listen += [console.show, tracker.follow]
        try:
            if not conductor.finished:
                run_all(run, conductor, dataset)
        finally:
            page = write_results(run, conductor)
            tracker.log_page(page)
    check_result(conductor)


def check_result(conductor: Conductor) -> None:
    """Raise InterruptedRunError after Ctrl-C, CvflowError if no trial has a score."""
    if conductor.closed == "interrupted":
        raise InterruptedRunError("interrupted; the same command goes on from there")
    if not conductor.trials:
        raise CvflowError(f"no trial began: {conductor.closed}. With a higher limit the same command begins.")
    if not ranked(conductor.trials, conductor.objective):
        reasons = sorted({trial.reason for trial in conductor.trials if trial.reason})
        raise CvflowError(f"all {len(conductor.trials)} trials failed:\n" + "\n".join(reasons[:5]))


def run_all(run: Run, conductor: Conductor, dataset: PreparedDataset) -> None:
    """Run trials until the search is finished."""
    from cvflow.runtime.ray_tune import run_trials

    search = conductor.search
    scheduler = build("scheduler", search.scheduler, most_epochs(run.recipe), search.space)
    run_trials(
        conductor,
        scheduler,
        trial_worker,
        partial(trial_recipe, run.resolved),
        run.recipe.compute,
        str(dataset.path.absolute()),
    )


def search_key(run: Run, digest: str) -> str:
    """Return 32 hex digits of everything that suggestions and results depend on.

    digest: of the prepared dataset.
    """
    sections = {key: lookup(run.resolved, key) for key in TUNE.keys}
    search = dict(sections["search"])
    for key in OPEN_KEYS:
        search.pop(key, None)
    sections["search"] = search
    text = json.dumps(["tune", digest, sections], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
