"""The MLflow run of a training: found or made by fingerprint, described once, its points sent in
the background.

Workers never talk to MLflow: whoever trains appends points to ``history.jsonl``, and the driver
follows that file.
"""

from __future__ import annotations

import json
import math
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import cvflow
from cvflow.errors import Fault, RequestError
from cvflow.runtime.tracking_uri import (
    FINGERPRINT,
    artifact_location,
    connect,
    first_line,
    locked,
    plain_errors,
    without_password,
)
from cvflow.runtime.tracking_uri import tracking_uri as tracking_uri

PARAMS_A_CALL = 100
PACKAGES = ("torch", "ray", "mlflow")
DESCRIBED = "cvflow.described"


@plain_errors()
def find_run(experiment: str, fingerprint: str) -> str | None:
    """The id of the training's run, if there is one that is not deleted."""
    client = connect()
    existing = client.get_experiment_by_name(experiment)
    return (
        _search(client, existing.experiment_id, fingerprint)
        if existing and existing.lifecycle_stage == "active"
        else None
    )


@plain_errors()
def open_run(experiment: str, fingerprint: str, name: str, parent: str | None = None) -> str:
    """The id of the run tagged with the fingerprint, running again; made where there is none.

    Safe between processes.

    parent: the id of the run that a new one is nested in.
    """
    client = connect()
    with locked("runs"):
        experiment_id = _experiment(client, experiment)
        run_id = _search(client, experiment_id, fingerprint)
        if run_id is None:
            tags = {FINGERPRINT: fingerprint, **({"mlflow.parentRunId": parent} if parent else {})}
            return str(client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)
    client.update_run(run_id, status="RUNNING")
    return run_id


def _search(client: Any, experiment_id: str, fingerprint: str) -> str | None:
    runs = client.search_runs([experiment_id], f"tags.`{FINGERPRINT}` = '{fingerprint}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _experiment(client: Any, name: str) -> str:
    existing = client.get_experiment_by_name(name)
    if existing is None:
        return str(client.create_experiment(name, artifact_location=artifact_location(tracking_uri())))
    if existing.lifecycle_stage != "active":
        fix = f"Type 'mlflow experiments restore -x {existing.experiment_id}', or name another."
        raise RequestError(
            Fault(
                "tracking.experiment",
                f"'{name}', which is deleted",
                "an experiment in use or a new name",
                fix,
            )
        )
    return str(existing.experiment_id)


@plain_errors()
def describe_run(
    run_id: str,
    *,
    recipe: Mapping[str, Any],
    dataset: tuple[str, str, str, Mapping[str, int]],
    tags: Mapping[str, str],
    files: Sequence[Path],
) -> None:
    """Log what the training is made of; a second call adds nothing twice.

    dataset: (name, digest of at most 36 characters as ``<md5>.dir``, source, rows by split), logged
    as an MLflow input.
    """
    from mlflow.entities import Param, RunTag

    client = connect()
    # A param cannot change, and one may well differ: compute and tracking are in no fingerprint.
    # The first stands;
    # recipe.yaml among the files is the last.
    logged = client.get_run(run_id).data.params
    params = [Param(key, value) for key, value in flatten(recipe) if key not in logged]
    for first in range(0, len(params), PARAMS_A_CALL):
        client.log_batch(run_id, params=params[first : first + PARAMS_A_CALL])
    all_tags = {**environment(), **tags}
    client.log_batch(run_id, tags=[RunTag(key, _short(str(value))) for key, value in all_tags.items()])
    client.log_inputs(run_id, datasets=[_dataset_input(*dataset)])
    for file in files:
        client.log_artifact(run_id, str(file))
    client.log_text(run_id, installed(), "environment.txt")
    # last: a run without it was left half described
    client.set_tag(run_id, DESCRIBED, "true")


@plain_errors()
def is_described(run_id: str) -> bool:
    """Whether ``describe_run`` came to its end for this run."""
    return connect().get_run(run_id).data.tags.get(DESCRIBED) == "true"


def _dataset_input(name: str, digest: str, source: str, counts: Mapping[str, int]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    where = json.dumps({"uri": source})
    dataset = Dataset(
        name=name, digest=digest, source_type="local", source=where, profile=json.dumps(dict(counts))
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def flatten(data: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value as JSON; text bare) for each leaf; lists of mappings are entered by index."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from flatten(value, f"{prefix}{key}.")
    elif isinstance(data, (list, tuple)) and any(isinstance(item, Mapping) for item in data):
        for index, item in enumerate(data):
            yield from flatten(item, f"{prefix}{index}.")
    else:
        yield (
            _name(prefix.rstrip(".")),
            _short(data if isinstance(data, str) else json.dumps(data, default=str)),
        )


def _name(key: str) -> str:
    """A key that MLflow takes: letters, digits and ``_-. :/``, at most 250."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:250]


def _short(value: str, most: int = 6000) -> str:
    """most: MLflow's limit for a param's value (a tag's is greater)."""
    return value if len(value) <= most else value[: most - 3] + "..."


@cache
def environment() -> dict[str, str]:
    """Versions as tags."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        f"cvflow.version.{k}": v
        for k, v in {"python": platform.python_version(), "cvflow": cvflow.__version__, **versions}.items()
    }


@cache
def installed() -> str:
    """Every installed package, as ``name==version`` lines."""
    return (
        "\n".join(sorted({f"{d.name}=={d.version}" for d in metadata.distributions()}, key=str.lower)) + "\n"
    )


def log_results(run_id: str, metrics: Mapping[str, float]) -> None:
    """Log final values once; one that is there already, as it is, is not logged again.

    NaN, a figure that could not be had, is left out.
    """
    from mlflow.entities import Metric

    client = connect()
    logged = client.get_run(run_id).data.metrics
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[
            Metric(k, v, now, 0) for k, v in metrics.items() if logged.get(k) != v and not math.isnan(v)
        ],
    )


def log_files(run_id: str, texts: Mapping[str, str]) -> None:
    """Texts as artifacts (path -> content), in place of those logged before.

    MLflow away is a warning: the files are here too.
    """
    try:
        client = connect()
        for path, text in texts.items():
            client.log_text(run_id, text, path)
    # whatever a client raises, a finished run is not to be lost by it
    except Exception as error:
        _warn(f"run {run_id} lacks the report's pages there", error)


def finish_run(run_id: str | None, status: str) -> None:
    """Set FINISHED, FAILED or KILLED.

    MLflow away is a warning: the work is done. None: the run was never made.
    """
    if run_id is None:
        return
    try:
        connect().set_terminated(run_id, status)
    # whatever a client raises, a finished training is not to be lost by it
    except Exception as error:
        _warn(f"run {run_id} stays open there", error)


def _warn(consequence: str, error: Exception) -> None:
    sys.stderr.write(
        f"warning: MLflow at {without_password(tracking_uri())} does "
        f"not answer: {consequence} ({first_line(error)})\n"
    )
