"""The MLflow run of a training: made by the driver, found again by fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import InterruptedRunError
from cvflow.project.graph import Run
from cvflow.runtime.dvc import git_revision
from cvflow.runtime.tracking import (
    Tail,
    describe_run,
    find_run,
    finish_run,
    is_described,
    log_files,
    open_run,
)


@contextmanager
def tracked(run: Run, fingerprint: str, digest: str, history: Path) -> Iterator[None]:
    """While the body trains, the points that come to ``history`` go to MLflow; the run ends as the body does.

    MLflow may be away, at the start too: the training goes on, and register sends what is missing.
    """
    tail = Tail(history, lambda: opened(run, fingerprint, digest))
    try:
        with tail:
            yield
    except BaseException as error:
        finish_run(
            tail.run_id, "KILLED" if isinstance(error, (KeyboardInterrupt, InterruptedRunError)) else "FAILED"
        )
        raise
    finish_run(tail.run_id, "FINISHED")


def ensure_tracked(run: Run, fingerprint: str, digest: str) -> str:
    """The id of the training's MLflow run, whole: made where the training came from the cache, sent what was left unsent."""
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
    """The report, what prepare found and the plots (name -> HTML) as artifacts of the run; one logged before is replaced.

    They lie as in the run's folder, so that links between them hold.
    """
    pages = {str(path): run.path(path).read_text(encoding="utf-8") for path in ("report.html", "data.html")}
    log_files(run_id, {**pages, **{f"plots/{name}.html": text for name, text in plots.items()}})


def opened(run: Run, fingerprint: str, digest: str) -> str:
    """Find or make the run and describe it; its id."""
    run_id = open_run(experiment(run), fingerprint, run.name)
    describe(run, run_id, digest)
    return run_id


def experiment(run: Run) -> str:
    return run.recipe.tracking.experiment or run.name


def describe(run: Run, run_id: str, digest: str) -> None:
    """Log the recipe, the dataset as an input, the revision and environment."""
    dataset = PreparedDataset(run.path("data"))
    tags: dict[str, Any] = {
        "cvflow.run": run.name,
        "cvflow.data_digest": digest,
        "cvflow.task": run.recipe.task.name,
    }
    tags["cvflow.compute"] = run.recipe.compute.model_dump_json(exclude_none=True)
    revision = git_revision()
    describe_run(
        run_id,
        recipe={k: v for k, v in run.resolved.items() if k != "cvflow"},
        dataset=(
            run.name,
            digest,
            str(run.recipe.data.source or run.recipe.data.format.name),
            dict(dataset.info.counts),
        ),
        tags={**tags, **({"cvflow.git_revision": revision} if revision else {})},
        files=[run.path("recipe.yaml")],
    )
