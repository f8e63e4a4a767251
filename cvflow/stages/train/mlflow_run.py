"""The MLflow run of a training, which the driver makes and finds again by fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import InterruptedRunError
from cvflow.project.graph import Run
from cvflow.runtime.dvc import git_revision
from cvflow.runtime.metrics_tail import Tail
from cvflow.runtime.tracking import describe_run, find_run, finish_run, is_described, log_files, open_run


@contextmanager
def tracked(run: Run, fingerprint: str, digest: str, history: Path) -> Iterator[None]:
    """Send the points in ``history`` to MLflow while the body trains; end the run as the body ends.

    MLflow may be away, even at the start: the training goes on, and register sends what is missing.
    """
    tail = Tail(history, lambda: opened(run, fingerprint, digest))
    try:
        with tail:
            yield
    except (KeyboardInterrupt, InterruptedRunError):
        finish_run(tail.run_id, "KILLED")
        raise
    except BaseException:
        finish_run(tail.run_id, "FAILED")
        raise
    finish_run(tail.run_id, "FINISHED")


def ensure_tracked(run: Run, fingerprint: str, digest: str) -> str:
    """Return the id of the training's MLflow run, once MLflow has all of it.

    The run is made if the training came from the cache, and what was not sent is sent.
    """
    run_id = find_run(experiment(run), fingerprint)
    if run_id is None or not is_described(run_id):
        run_id = opened(run, fingerprint, digest)
    history = run.path("history.jsonl")
    with Tail(history, run_id):
        pass
    history.with_name(history.name + ".sent").unlink(missing_ok=True)
    finish_run(run_id, "FINISHED")
    return run_id


def log_pages(run: Run, run_id: str, plots: Mapping[str, str]) -> None:
    """Log the report, the page of the data and the plots (name -> HTML) as artifacts of the run.

    An artifact that was logged before is replaced. They lie as in the run's folder, so that links
    between them hold.
    """
    files: dict[str, str] = {}
    for page in ("report.html", "data.html"):
        files[page] = run.path(page).read_text(encoding="utf-8")
    for name, text in plots.items():
        files[f"plots/{name}.html"] = text
    log_files(run_id, files)


def opened(run: Run, fingerprint: str, digest: str) -> str:
    """Find or make the run and describe it; return its id."""
    run_id = open_run(experiment(run), fingerprint, run.name)
    describe(run, run_id, digest)
    return run_id


def experiment(run: Run) -> str:
    """Return the name of the run's MLflow experiment."""
    return run.recipe.tracking.experiment or run.name


def describe(run: Run, run_id: str, digest: str) -> None:
    """Log the recipe, the dataset as an input, the revision and environment."""
    recipe = run.recipe
    counts = dict(PreparedDataset(run.path("data")).info.counts)
    source = str(recipe.data.source or recipe.data.format.name)
    tags: dict[str, Any] = {
        "cvflow.run": run.name,
        "cvflow.data_digest": digest,
        "cvflow.task": recipe.task.name,
        "cvflow.compute": recipe.compute.model_dump_json(exclude_none=True),
    }
    revision = git_revision()
    if revision:
        tags["cvflow.git_revision"] = revision
    describe_run(
        run_id,
        recipe={key: value for key, value in run.resolved.items() if key != "cvflow"},
        dataset=(run.name, digest, source, counts),
        tags=tags,
        files=[run.path("recipe.yaml")],
    )
