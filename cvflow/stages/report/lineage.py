"""Where a model came from: data hash -> training -> model version -> predictions; and with what it
was made.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pyarrow.parquet as pq

from cvflow.draw import Facts
from cvflow.runtime.dvc import git_revision
from cvflow.runtime.tracking import environment
from cvflow.stages.report.finished_run import Finished


def lineage(done: Finished) -> Iterator[Facts]:
    run, registered, made_by = done.run, done.read("registered.json"), done.read("model/model.json")
    rows = sum(pq.read_metadata(part).num_rows for part in sorted(run.path("predictions").glob("*.parquet")))
    yield Facts(
        {
            "model": registered["uri"],
            "decision": registered["reason"],
            "MLflow run": registered["run_id"],
            "training fingerprint": made_by["fingerprint"],
            "weights to start from": str(done.recipe.model.weights or "none"),
            "recipe": str(run.path("recipe.yaml")),
            "predictions": f"{run.path('predictions')} ({rows} rows)",
        },
        "Model",
    )
    views = " x ".join(view["name"] for view in done.measured["views"])
    yield Facts(
        {
            "raw data": str(done.recipe.data.source or f"{done.recipe.data.format.name} (built in)"),
            "training data": made_by["data_digest"],
            "measured on": f"{done.measured['split']} of {done.measured['data_digest']}",
            **({"test-time views": views} if views else {}),
        },
        "Data",
    )
    versions = {name.rpartition(".")[2]: version for name, version in environment().items()}
    yield Facts(
        {"git revision": git_revision() or "none", **versions, "system": platform.platform()}, "Reported by"
    )
