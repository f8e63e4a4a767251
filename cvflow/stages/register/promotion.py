"""Who becomes champion: the recipe's rule on plain numbers, and a promotion or its way back by hand."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from cvflow.answers.base import objective_of
from cvflow.config import Compute, Promote, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.registry import Component
from cvflow.runtime import champions, model_registry
from cvflow.runtime.model_registry import VersionInfo, find_version
from cvflow.tasks.base import Task
from cvflow.types import Objective

RULE = "cvflow.promote"
"""Tag of a version: its recipe's promotion rule and objective, as JSON."""
MEASURED = "cvflow.measured."
"""Tags of a version: what it scored on other test data than its own, by that data's digest and split."""


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes champion, and why."""

    promoted: bool
    reason: str


@dataclass(frozen=True)
class Standing:
    """The champion to beat: its score on the same data, and how that is known."""

    score: float
    note: str = ""


@dataclass(frozen=True)
class Promotion:
    """What a promotion by hand did, or would do. champion: the one before. by_rule: what the recipe's rule says; None for a rollback."""

    model: str
    version: int
    champion: int | None
    by_rule: Decision | None
    done: bool


def promotion_objective(recipe: Recipe, task: Task, metrics: Collection[str]) -> Objective:
    """What the rule compares; RequestError where it names a metric that is not among those measured."""
    metric, own = recipe.register_.promote.metric, objective_of(task.answer).metric
    if metric not in (None, own, *metrics):
        fix = did_you_mean(str(metric), metrics) or f"Type register.promote.metric={own}."
        raise RequestError(Fault("register.promote.metric", f"'{metric}'", one_of(metrics), fix))
    return objective_of(task.answer, metric)


def decide(
    rule: Promote, objective: Objective, metrics: Mapping[str, float], champion: Standing | None
) -> Decision:
    """The promotion rule on plain numbers. champion: None where there is none to beat."""
    name, score = objective.metric, metrics[objective.metric]
    if isnan(score):
        return Decision(False, f"challenger: {name} is not a number")
    if rule.threshold is not None and objective.better(rule.threshold, score):
        return Decision(
            False, f"challenger: {name} {score:.4f} does not reach the threshold {rule.threshold}"
        )
    if champion is not None and objective.better(champion.score, score):
        return Decision(
            False,
            f"challenger: {name} {score:.4f} is not as good as the champion's {champion.score:.4f}{champion.note}",
        )
    against = f", the former champion's {champion.score:.4f}{champion.note}" if champion is not None else ""
    return Decision(True, f"champion: {name} {score:.4f}{against}")


def known_score(champion: VersionInfo, metric: str, digest: str, split: str) -> Standing | None:
    """The champion's score on this test data, where the registry has it."""
    if (champion.tags.get("cvflow.test_digest"), champion.tags.get("cvflow.test_split")) == (digest, split):
        return Standing(champion.metrics[metric]) if metric in champion.metrics else None
    again = json.loads(champion.tags.get(measured_tag(digest, split), "{}"))
    note = f" (version {champion.version}, measured again: the test data has changed)"
    return Standing(again[metric], note) if metric in again else None


def measured_tag(digest: str, split: str) -> str:
    return f"{MEASURED}{digest}.{split}"


def rule_tag(rule: Promote, objective: Objective) -> dict[str, str]:
    """The tag by which a version carries its rule."""
    return {RULE: json.dumps({"rule": rule.model_dump(), "objective": list(objective)})}


def promote_by_hand(model: str, version: int | None, dry_run: bool = False) -> Promotion:
    """Make a version champion, whatever the rule says of it. dry_run: change nothing."""
    if version is None:
        known = [v.version for v in model_registry.versions(model)] or [
            find_version(f"models:/{model}@champion").version
        ]
        expected = f"a version: {', '.join(map(str, sorted(known)))}"
        raise RequestError(
            Fault("VERSION", "none", expected, f"Type 'cvflow promote {model} {known[0]}', or --rollback.")
        )
    wanted, champion = find_version(f"models:/{model}/{version}"), model_registry.champion(model)
    by_rule = said_by_rule(wanted, champion)
    if not dry_run:
        champions.crown(model, version, f"by hand; the rule says {by_rule.reason}")
    return Promotion(model, version, champion.version if champion else None, by_rule, not dry_run)


def roll_back(model: str, version: int | None = None, dry_run: bool = False) -> Promotion:
    """Make the former champion champion again. RequestError where there was none, or where a version is named as well."""
    if version is not None:
        fix = f"Type 'cvflow promote {model} {version}' for that version."
        raise RequestError(
            Fault(
                "VERSION", f"{version} with --rollback", "--rollback alone: it finds the former champion", fix
            )
        )
    old, new = champions.former(model) if dry_run else champions.roll_back(model)
    return Promotion(model, new, old, None, not dry_run)


def said_by_rule(wanted: VersionInfo, champion: VersionInfo | None) -> Decision:
    """What the version's own rule says, from what the registry knows; the champion is measured where its score is missing."""
    if RULE not in wanted.tags:
        return Decision(False, "challenger: no rule was registered with this version")
    told = json.loads(wanted.tags[RULE])
    rule, objective = Promote.model_validate(told["rule"]), Objective(*told["objective"])
    if champion is None or champion.version == wanted.version or not rule.better_than_champion:
        return decide(rule, objective, wanted.metrics, None)
    digest, split = wanted.tags["cvflow.test_digest"], wanted.tags["cvflow.test_split"]
    standing = known_score(champion, objective.metric, digest, split) or _measured_here(
        champion, wanted, objective.metric
    )
    if standing is None:
        alone = decide(rule, objective, wanted.metrics, None)
        unknown = f"; the score of the champion, version {champion.version}, on the same data is not known, and that data is not here"
        return Decision(False, f"challenger{alone.reason[alone.reason.index(':') :]}{unknown}")
    return decide(rule, objective, wanted.metrics, standing)


def _measured_here(champion: VersionInfo, wanted: VersionInfo, metric: str) -> Standing | None:
    """The champion measured on the version's test data, where its run still has that data."""
    data, split = Path("runs") / wanted.tags.get("cvflow.run", "") / "data", wanted.tags["cvflow.test_split"]
    if (
        not (data / "dataset.json").is_file()
        or PreparedDataset(data).digest != wanted.tags["cvflow.test_digest"]
    ):
        return None
    again = measure_again(champion, data, split, 256, Compute(), Path(".cvflow").absolute())
    return Standing(
        again[metric], f" (version {champion.version}, measured again: the test data has changed)"
    )


def measure_again(
    champion: VersionInfo, data: Path, split: str, batch_size: int, compute: Compute, state: Path, views: Sequence[Component] = ()
) -> dict[str, Any]:  # fmt: skip
    """The champion's metrics on other test data, or by other views."""
    from cvflow.stages.evaluate import measure  # torch comes with it: most promotions read numbers alone

    directory = model_registry.download(f"models:/{champion.name}/{champion.version}")
    return measure(directory, data, split, batch_size, compute, state, views).metrics
