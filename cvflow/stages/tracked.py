"""The MLflow run of a training: made by the driver, found again by fingerprint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvflow.data.dataset import PreparedDataset
from cvflow.runtime.dvc import git_revision
from cvflow.stages.run import Run


@contextmanager
def tracked(run: Run, fingerprint: str, digest: str, history: Path) -> Iterator[None]:
    """While the body trains, the points that come to ``history`` go to MLflow; the run ends as the body does."""
    from cvflow.runtime.tracking import Tail, finish_run, open_run

    run_id = open_run(experiment(run), fingerprint, run.name)
    try:
        with Tail(history, run_id):
            describe(run, run_id, digest)
            yield
    except KeyboardInterrupt:
        finish_run(run_id, "KILLED")
        raise
    except BaseException:
        finish_run(run_id, "FAILED")
        raise
    finish_run(run_id, "FINISHED")


def ensure_tracked(run: Run, fingerprint: str, digest: str) -> str:
    """The id of the training's MLflow run; made anew from the history where the training came from the cache."""
    from cvflow.runtime.tracking import Tail, find_run, finish_run, open_run

    found = find_run(experiment(run), fingerprint)
    if found is not None:
        return found
    sys.stderr.write("the training came from the cache: its MLflow run is made again from the history\n")
    run_id = open_run(experiment(run), fingerprint, run.name)
    with Tail(run.path("history.jsonl"), run_id):
        describe(run, run_id, digest)
    finish_run(run_id, "FINISHED")
    return run_id


def experiment(run: Run) -> str:
    return run.recipe.tracking.experiment or run.name


def describe(run: Run, run_id: str, digest: str) -> None:
    """Log the recipe, the dataset as an input, the revision and environment."""
    from cvflow.runtime.tracking import describe_run

    dataset = PreparedDataset(run.path("data"))
    tags: dict[str, Any] = {"cvflow.run": run.name, "cvflow.data_digest": digest, "cvflow.task": run.recipe.task.name}
    revision = git_revision()
    describe_run(
        run_id,
        recipe={k: v for k, v in run.resolved.items() if k != "cvflow"},
        dataset=(run.name, digest, str(run.recipe.data.source or run.recipe.data.format.name), dict(dataset.info.counts)),
        tags={**tags, **({"cvflow.git_revision": revision} if revision else {})},
        files=[run.path("recipe.yaml")],
    )
