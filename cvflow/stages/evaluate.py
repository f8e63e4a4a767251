"""evaluate: a trained model measured on a split of the prepared dataset."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.answers.base import Answer
from cvflow.config import Compute
from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.shards import arrow_type
from cvflow.engine.evaluate import Evaluation
from cvflow.engine.evaluate import evaluate as evaluate_job
from cvflow.engine.export import read_model
from cvflow.engine.job import Job, make_deterministic, make_task
from cvflow.engine.session import Session
from cvflow.engine.views import make_views
from cvflow.project.graph import Run, read_recipe
from cvflow.registry import Component
from cvflow.runtime.console import words
from cvflow.runtime.launch import launch
from cvflow.runtime.local import here_if_few


def evaluate(run: Run) -> None:
    """Write ``runs/<name>/evaluation``: metrics.json, details.json and predictions.parquet (each id, its answer, how good, if right).

    Maps are not kept: predict writes them.
    """
    rule = run.recipe.evaluate
    dataset = PreparedDataset(run.path("data"))
    compute = here_if_few(run.recipe.compute, dataset.info.counts[rule.split])
    result = measure(
        run.path("model"), run.path("data"), rule.split, rule.batch_size, compute, run.state, rule.views
    )
    out = run.path("evaluation")
    out.mkdir(parents=True, exist_ok=True)
    digest = dataset.digest
    views = [view.model_dump(mode="json") for view in rule.views]
    (out / "metrics.json").write_text(
        to_json({"split": rule.split, "data_digest": digest, "metrics": result.metrics, "views": views})
    )
    (out / "details.json").write_text(to_json(result.details))
    answers = zip(result.predictions, result.quality, result.right, strict=True)
    rows = [{"id": p.id, "quality": quality, "right": right, **p.values} for p, quality, right in answers]
    task = make_task(read_recipe(run.trained_by), dataset.info)
    pq.write_table(
        pa.Table.from_pylist(rows, schema=measured_schema(task.answer)), out / "predictions.parquet"
    )
    sys.stderr.write(f"{rule.split}: {words(result.metrics)}\n")


def measured_schema(answer: Answer) -> pa.Schema:
    """Return ``id``, ``quality``, ``right`` and the answer's columns but the heavy ones."""
    light = {name: arrow_type(kind) for name, kind in answer.columns.items() if name not in answer.heavy}
    return pa.schema({"id": pa.string(), "quality": pa.float64(), "right": pa.bool_(), **light})


def measure(
    model: Path, data: Path, split: str, batch_size: int, compute: Compute, state: Path, views: Sequence[Component] = ()
) -> Evaluation:  # fmt: skip
    """A model directory's evaluation on a split, on the recipe's workers; the same at any number of them."""
    result: Evaluation = launch(
        evaluate_worker, compute, state / "evaluate",
        model=str(model.absolute()), dataset=str(data.absolute()), split=split, batch_size=batch_size,
        views=[view.model_dump(mode="json") for view in views],
    )  # fmt: skip
    return result


def evaluate_worker(
    session: Session, model: str, dataset: str, split: str, batch_size: int, views: list[dict[str, Any]]
) -> Evaluation:
    """On each rank: the whole evaluation of the model directory, predictions kept."""
    trained = read_model(Path(model), session.device)
    if trained.recipe.train.deterministic:
        make_deterministic()
    job = Job(trained.recipe, trained.task, PreparedDataset(Path(dataset)), trained.model, session)
    looks = make_views([Component.model_validate(view) for view in views], trained.recipe.image)
    return evaluate_job(job, split, batch_size, keep_predictions=True, views=looks)


def measured_on(measured: Mapping[str, Any]) -> str:
    """Of what a metric was measured on: the data's digest, and the views where there are some. Equal ones can be compared."""
    views = measured.get("views")
    return (
        f"{measured['data_digest']}-{hashlib.sha256(json.dumps(views).encode()).hexdigest()[:8]}"
        if views
        else measured["data_digest"]
    )


def to_json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def read_metrics(run: Run) -> dict[str, Any]:
    """metrics.json of a run: {split, data_digest, metrics, views}."""
    content: dict[str, Any] = json.loads((run.path("evaluation") / "metrics.json").read_text())
    return content
