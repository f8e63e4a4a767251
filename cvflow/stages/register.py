"""register: the model becomes a version, found again by fingerprint; the promotion rule says whether it is champion."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from cvflow.config import Promote, Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.runtime import model_registry
from cvflow.runtime.model_registry import VersionInfo
from cvflow.runtime.tracking import log_results
from cvflow.stages.evaluate import measure, read_metrics, to_json
from cvflow.stages.run import Run
from cvflow.stages.tracked import ensure_tracked
from cvflow.tasks.base import Task
from cvflow.types import Objective


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes champion, and why."""

    promoted: bool
    reason: str


def register(run: Run) -> None:
    """Write ``runs/<name>/registered.json``; find or make the MLflow run and version; promote by the recipe's rule."""
    made_by = json.loads((run.path("model") / "model.json").read_text())
    measured = read_metrics(run)
    name = run.recipe.register_.model or run.name
    run_id = ensure_tracked(run, made_by["fingerprint"], made_by["data_digest"])
    log_results(run_id, {f"{measured['split']}_{key}": value for key, value in measured["metrics"].items()})
    tags = {
        "cvflow.run": run.name,
        "cvflow.task": run.recipe.task.name,
        "cvflow.data_digest": made_by["data_digest"],
        "cvflow.test_digest": measured["data_digest"],
        "cvflow.test_split": measured["split"],
    }
    version = model_registry.register_version(name, run_id, run.path("model"), made_by["fingerprint"], tags, measured["metrics"])
    decision = promote(run, name, version, measured)
    content = {
        "model": name, "version": version, "uri": f"models:/{name}/{version}", "run_id": run_id,
        "fingerprint": made_by["fingerprint"], "promoted": decision.promoted, "reason": decision.reason,
    }  # fmt: skip
    run.path("registered.json").write_text(to_json(content))
    sys.stderr.write(f"{name} version {version}: {decision.reason}\n")


def promote(run: Run, name: str, version: int, measured: dict[str, Any]) -> Decision:
    """Apply the rule; the alias ``champion`` moves when it passes, and is never taken away."""
    task = make_task(run.recipe, PreparedDataset(run.path("data")).info)
    rule, objective = run.recipe.register_.promote, promotion_objective(run.recipe, task, measured["metrics"])
    champion = model_registry.champion(name)
    if champion is not None and champion.version == version:
        decision = decide(rule, objective, measured["metrics"], None)
        return decision if decision.promoted else Decision(True, f"champion still, though as a {decision.reason}")
    standing = None if champion is None or not rule.better_than_champion else champion_score(run, champion, objective, measured)
    decision = decide(rule, objective, measured["metrics"], standing)
    if decision.promoted:
        model_registry.set_alias(name, "champion", version)
    return decision


def promotion_objective(recipe: Recipe, task: Task, metrics: Mapping[str, float]) -> Objective:
    """What the rule compares; RequestError where it names a metric that is not among those measured."""
    objective, metric = task.objective(recipe), recipe.register_.promote.metric
    if metric is None or metric == objective.metric:
        return objective
    if metric not in metrics:
        raise RequestError(Fault("register.promote.metric", f"'{metric}'", one_of(metrics), did_you_mean(metric, metrics)))
    return Objective(metric, "min" if "loss" in metric or "error" in metric else "max")


def decide(rule: Promote, objective: Objective, metrics: dict[str, float], champion: float | None) -> Decision:
    """The promotion rule on plain numbers. champion: its score on the same data, None where there is none to beat."""
    name, score = objective.metric, metrics[objective.metric]
    if isnan(score):
        return Decision(False, f"challenger: {name} is not a number")
    if rule.threshold is not None and objective.better(rule.threshold, score):
        return Decision(False, f"challenger: {name} {score:.4f} does not reach the threshold {rule.threshold}")
    if champion is not None and objective.better(champion, score):
        return Decision(False, f"challenger: {name} {score:.4f} is not as good as the champion's {champion:.4f}")
    against = f", the former champion's {champion:.4f}" if champion is not None else ""
    return Decision(True, f"champion: {name} {score:.4f}{against}")


def champion_score(run: Run, champion: VersionInfo, objective: Objective, measured: dict[str, Any]) -> float:
    """The champion's score on this run's test data; measured again where it was measured on other data."""
    same = (champion.tags.get("cvflow.test_digest"), champion.tags.get("cvflow.test_split")) == (measured["data_digest"], measured["split"])
    if same and objective.metric in champion.metrics:
        return float(champion.metrics[objective.metric])
    sys.stderr.write(f"the champion, version {champion.version}, is measured again: the test data has changed\n")
    model: Path = model_registry.download(f"models:/{champion.name}/{champion.version}")
    again = measure(model, run.path("data"), measured["split"], run.recipe.evaluate.batch_size, run.recipe.compute, run.state)
    return float(again.metrics[objective.metric])
