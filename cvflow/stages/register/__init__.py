"""register: the model becomes a version with a model card, found again by fingerprint; the promotion rule says whether it is champion."""

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
    measured_tag,
    promotion_objective,
    rule_tag,
)
from cvflow.stages.train.mlflow_run import ensure_tracked
from cvflow.types import Objective


def register(run: Run) -> None:
    """Write ``registered.json`` and ``card.md``; find or make the MLflow run and version; promote by the recipe's rule."""
    made_by = json.loads((run.path("model") / "model.json").read_text())
    measured = read_metrics(run)
    name = run.recipe.register_.model or run.name
    run_id = ensure_tracked(run, made_by["fingerprint"], made_by["data_digest"])
    log_results(run_id, {f"{measured['split']}_{key}": value for key, value in measured["metrics"].items()})
    card = run.path("card.md")
    card.write_text(model_card(run, name, run_id), encoding="utf-8")
    info = PreparedDataset(run.path("data")).info
    objective = promotion_objective(run.recipe, make_task(run.recipe, info), measured["metrics"])
    tags = {
        "cvflow.run": run.name,
        "cvflow.task": run.recipe.task.name,
        "cvflow.data_digest": made_by["data_digest"],
        "cvflow.test_digest": measured_on(measured),
        "cvflow.test_split": measured["split"],
        **rule_tag(run.recipe.register_.promote, objective),
    }
    version = model_registry.register_version(
        name, run_id, run.path("model"), made_by["fingerprint"], tags, measured["metrics"], card
    )
    decision = promote(run, name, version, objective, measured)
    model_registry.tag_version(name, version, {"cvflow.decision": decision.reason})
    content = {
        "model": name, "version": version, "uri": f"models:/{name}/{version}", "run_id": run_id,
        "fingerprint": made_by["fingerprint"], "promoted": decision.promoted, "reason": decision.reason,
    }  # fmt: skip
    run.path("registered.json").write_text(to_json(content))
    sys.stderr.write(f"{name} version {version}: {decision.reason}\n")


def promote(run: Run, name: str, version: int, objective: Objective, measured: dict[str, Any]) -> Decision:
    """Apply the rule; the alias ``champion`` moves when it passes, and is never taken away."""
    rule, champion = run.recipe.register_.promote, model_registry.champion(name)
    if champion is not None and champion.version == version:
        decision = decide(rule, objective, measured["metrics"], None)
        return (
            decision
            if decision.promoted
            else Decision(True, f"champion still, though as a {decision.reason}")
        )
    standing = (
        None
        if champion is None or not rule.better_than_champion
        else champion_score(run, champion, objective, measured)
    )
    decision = decide(rule, objective, measured["metrics"], standing)
    if decision.promoted:
        champions.crown(name, version, decision.reason)
    return decision


def champion_score(
    run: Run, champion: VersionInfo, objective: Objective, measured: dict[str, Any]
) -> Standing:
    """The champion's score on this run's test data; measured once more, and kept as a tag of it, where that is other data than its own."""
    digest, split = measured_on(measured), measured["split"]
    known = known_score(champion, objective.metric, digest, split)
    if known is not None:
        return known
    sys.stderr.write(
        f"the champion, version {champion.version}, is measured again: the test data has changed\n"
    )
    again = measure_again(
        champion,
        run.path("data"),
        split,
        run.recipe.evaluate.batch_size,
        run.recipe.compute,
        run.state,
        run.recipe.evaluate.views,
    )
    tag = measured_tag(digest, split)
    model_registry.tag_version(champion.name, champion.version, {tag: json.dumps(again)})
    return Standing(
        again[objective.metric], f" (version {champion.version}, measured again: the test data has changed)"
    )
