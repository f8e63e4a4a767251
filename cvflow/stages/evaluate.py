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
from cvflow.engine.infer import answer_schema
from cvflow.engine.job import Job, make_deterministic, make_task
from cvflow.engine.session import Session
from cvflow.engine.views import make_views
from cvflow.project.graph import Run, read_recipe
from cvflow.registry import Component
from cvflow.runtime.console import words
from cvflow.runtime.launch import launch
from cvflow.runtime.local import here_if_few
from cvflow.stages.predict import evaluated_folder, model_digest
from cvflow.stages.predict.evaluated import AnswerKeeper, complete, emptied, request_key


def evaluate(run: Run) -> None:
    """Write ``runs/<name>/evaluation``: metrics.json, details.json and predictions.parquet.

    The table has for each row its answer, how good it is, and whether it is right. Heavy columns
    (maps) are not in it: predict writes them. If predict asks for the same, the answers are kept
    for it.
    """
    rule = run.recipe.evaluate
    dataset = PreparedDataset(run.path("data"))
    compute = here_if_few(run.recipe.compute, dataset.info.counts[rule.split])
    is_predicted = (rule.split, rule.views) == (run.recipe.predict.split, run.recipe.predict.views)
    answers = emptied(evaluated_folder(run)) if is_predicted else None
    result = measure(
        run.path("model"),
        run.path("data"),
        rule.split,
        rule.batch_size,
        compute,
        run.state,
        rule.views,
        answers,
    )
    if answers is not None:
        complete(
            answers, request_key(model_digest(run.path("model")), dataset.digest, rule.split, rule.views)
        )
    out = run.path("evaluation")
    out.mkdir(parents=True, exist_ok=True)
    measured = {
        "split": rule.split,
        "data_digest": dataset.digest,
        "metrics": result.metrics,
        "views": [view.model_dump(mode="json") for view in rule.views],
    }
    (out / "metrics.json").write_text(to_json(measured))
    (out / "details.json").write_text(to_json(result.details))
    answer = make_task(read_recipe(run.trained_by), dataset.info).answer
    pq.write_table(measured_table(result, answer), out / "predictions.parquet")
    sys.stderr.write(f"{rule.split}: {words(result.metrics)}\n")


def measured_table(result: Evaluation, answer: Answer) -> pa.Table:
    """Return ``id``, ``quality``, ``right`` and the answer's columns but the heavy ones, a row each."""
    light = {name: arrow_type(kind) for name, kind in answer.columns.items() if name not in answer.heavy}
    schema = pa.schema({"id": pa.string(), "quality": pa.float64(), "right": pa.bool_(), **light})
    rows = []
    for prediction, quality, right in zip(result.predictions, result.quality, result.right, strict=True):
        rows.append({"id": prediction.id, "quality": quality, "right": right, **prediction.values})
    return pa.Table.from_pylist(rows, schema=schema)


def measure(
    model: Path,
    data: Path,
    split: str,
    batch_size: int,
    compute: Compute,
    state: Path,
    views: Sequence[Component] = (),
    answers: Path | None = None,
) -> Evaluation:
    """Return a model directory's evaluation on a split, on the recipe's workers; the same at any
    number of them.

    answers: folder to which every answer is written, heavy columns included.
    """
    result: Evaluation = launch(
        evaluate_worker,
        compute,
        state / "evaluate",
        model=str(model.absolute()),
        dataset=str(data.absolute()),
        split=split,
        batch_size=batch_size,
        views=[view.model_dump(mode="json") for view in views],
        answers=str(answers.absolute()) if answers is not None else None,
    )
    return result


def evaluate_worker(
    session: Session,
    model: str,
    dataset: str,
    split: str,
    batch_size: int,
    views: list[dict[str, Any]],
    answers: str | None,
) -> Evaluation:
    """Return on each rank the whole evaluation of the model directory, predictions kept."""
    trained = read_model(Path(model), session.device)
    if trained.recipe.train.deterministic:
        make_deterministic()
    job = Job(trained.recipe, trained.task, PreparedDataset(Path(dataset)), trained.model, session)
    looks = make_views([Component.model_validate(view) for view in views], trained.recipe.image)
    keep = AnswerKeeper(Path(answers), answer_schema(trained)) if answers is not None else None
    return evaluate_job(job, split, batch_size, keep_predictions=True, views=looks, keep=keep)


def measured_on(measured: Mapping[str, Any]) -> str:
    """Return what a metric was measured on: the data's digest, and the views if there are some.

    Metrics with equal ones can be compared.
    """
    digest: str = measured["data_digest"]
    views = measured.get("views")
    if not views:
        return digest
    return f"{digest}-{hashlib.sha256(json.dumps(views).encode()).hexdigest()[:8]}"


def to_json(value: Any) -> str:
    """Return JSON with sorted keys, a line each."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def read_metrics(run: Run) -> dict[str, Any]:
    """Return metrics.json of a run: {split, data_digest, metrics, views}."""
    content: dict[str, Any] = json.loads((run.path("evaluation") / "metrics.json").read_text())
    return content
