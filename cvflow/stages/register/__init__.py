"""register: the trained model becomes a version in the registry, with a model card.

The version is found again by fingerprint; the promotion rule decides whether it becomes champion.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.project.graph import Run
from cvflow.runtime import champions, model_registry
from cvflow.runtime.model_registry import VersionInfo
from cvflow.runtime.tracking import log_results
from cvflow.stages.evaluate import measured_on, read_metrics, to_json
from cvflow.stages.register.model_card import model_card
from cvflow.stages.register.promotion import (
    Decision,
    Standing,
    decide,
    known_score,
    measure_again,
    measured_again_note,
    measured_tag,
    promotion_objective,
    rule_tag,
)
from cvflow.stages.train.mlflow_run import ensure_tracked
from cvflow.types import Objective


def register(run: Run) -> None:
    """Find or make the MLflow run and the version, and promote by the recipe's rule.

    Writes ``registered.json`` and ``card.md``.
    """
    model_json = json.loads((run.path("model") / "model.json").read_text())
    fingerprint, data_digest = model_json["fingerprint"], model_json["data_digest"]
    measured = read_metrics(run)
    name = run.recipe.register_.model or run.name
    run_id = ensure_tracked(run, fingerprint, data_digest)
    log_results(run_id, {f"{measured['split']}_{key}": v for key, v in measured["metrics"].items()})
    card = run.path("card.md")
    card.write_text(model_card(run, name, run_id), encoding="utf-8")
    objective = objective_of_run(run, measured)
    tags = version_tags(run, data_digest, measured, objective)
    version = model_registry.register_version(
        name, run_id, run.path("model"), fingerprint, tags, measured["metrics"], card
    )
    decision = promote(run, name, version, objective, measured)
    model_registry.tag_version(name, version, {"cvflow.decision": decision.reason})
    content = {
        "model": name,
        "version": version,
        "uri": f"models:/{name}/{version}",
        "run_id": run_id,
        "fingerprint": fingerprint,
        "promoted": decision.promoted,
        "reason": decision.reason,
    }
    run.path("registered.json").write_text(to_json(content))
    sys.stderr.write(f"{name} version {version}: {decision.reason}\n")


def objective_of_run(run: Run, measured: dict[str, Any]) -> Objective:
    """Return what the run's promotion rule compares. measured: as in metrics.json."""
    info = PreparedDataset(run.path("data")).info
    return promotion_objective(run.recipe, make_task(run.recipe, info), measured["metrics"])


def version_tags(
    run: Run, data_digest: str, measured: dict[str, Any], objective: Objective
) -> dict[str, str]:
    """Return the tags that lead from a version to its run, data and promotion rule."""
    return {
        "cvflow.run": run.name,
        "cvflow.task": run.recipe.task.name,
        "cvflow.data_digest": data_digest,
        "cvflow.test_digest": measured_on(measured),
        "cvflow.test_split": measured["split"],
        **rule_tag(run.recipe.register_.promote, objective),
    }


def promote(run: Run, name: str, version: int, objective: Objective, measured: dict[str, Any]) -> Decision:
    """Apply the rule; the alias ``champion`` moves if the version passes, and is never taken away."""
    rule = run.recipe.register_.promote
    champion = model_registry.champion(name)
    if champion is not None and champion.version == version:
        decision = decide(rule, objective, measured["metrics"], None)
        if decision.promoted:
            return decision
        return Decision(True, f"champion still, though as a {decision.reason}")
    standing = None
    if champion is not None and rule.better_than_champion:
        standing = champion_score(run, champion, objective, measured)
    decision = decide(rule, objective, measured["metrics"], standing)
    if decision.promoted:
        champions.crown(name, version, decision.reason)
    return decision


def champion_score(
    run: Run, champion: VersionInfo, objective: Objective, measured: dict[str, Any]
) -> Standing:
    """Return the champion's score on this run's test data.

    If the champion was never measured on these data it is measured now, and tagged with the result.
    """
    digest, split = measured_on(measured), measured["split"]
    standing = known_score(champion, objective.metric, digest, split)
    if standing is not None:
        return standing
    reason = "the test data has changed"
    sys.stderr.write(f"the champion, version {champion.version}, is measured again: {reason}\n")
    metrics = measure_again(
        champion,
        run.path("data"),
        split,
        run.recipe.evaluate.batch_size,
        run.recipe.compute,
        run.state,
        run.recipe.evaluate.views,
    )
    tag = measured_tag(digest, split)
    model_registry.tag_version(champion.name, champion.version, {tag: json.dumps(metrics)})
    return Standing(metrics[objective.metric], measured_again_note(champion))
