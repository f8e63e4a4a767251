"""Which version becomes champion: the recipe's rule on plain numbers, or a decision by hand."""

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
"""Tags of a version: its metrics on other test data than its own, by their digest and split."""


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes champion, and why."""

    promoted: bool
    reason: str


@dataclass(frozen=True)
class Standing:
    """The champion to beat: its score on the same data, and where that comes from."""

    score: float
    note: str = ""


@dataclass(frozen=True)
class Promotion:
    """What a promotion by hand did, or would do.

    champion: the version that was champion before. by_rule: the decision of the recipe's rule; None
    for a rollback.
    """

    model: str
    version: int
    champion: int | None
    by_rule: Decision | None
    done: bool


def promotion_objective(recipe: Recipe, task: Task, metrics: Collection[str]) -> Objective:
    """Return what the rule compares; RequestError if it names a metric that is not measured."""
    metric = recipe.register_.promote.metric
    default = objective_of(task.answer).metric
    if metric not in (None, default, *metrics):
        fix = did_you_mean(str(metric), metrics) or f"Type register.promote.metric={default}."
        raise RequestError(Fault("register.promote.metric", f"'{metric}'", one_of(metrics), fix))
    return objective_of(task.answer, metric)


def decide(
    rule: Promote, objective: Objective, metrics: Mapping[str, float], champion: Standing | None
) -> Decision:
    """Apply the promotion rule to plain numbers. champion: None if there is none to beat."""
    name = objective.metric
    score = metrics[name]
    if isnan(score):
        return Decision(False, f"challenger: {name} is not a number")
    if rule.threshold is not None and objective.better(rule.threshold, score):
        reason = f"{name} {score:.4f} does not reach the threshold {rule.threshold}"
        return Decision(False, f"challenger: {reason}")
    if champion is None:
        return Decision(True, f"champion: {name} {score:.4f}")
    beaten = f"{champion.score:.4f}{champion.note}"
    if objective.better(champion.score, score):
        reason = f"{name} {score:.4f} is not as good as the champion's {beaten}"
        return Decision(False, f"challenger: {reason}")
    return Decision(True, f"champion: {name} {score:.4f}, the former champion's {beaten}")


def known_score(champion: VersionInfo, metric: str, digest: str, split: str) -> Standing | None:
    """Return the champion's score on these test data, or None if the registry does not have it."""
    tags = champion.tags
    if tags.get("cvflow.test_digest") == digest and tags.get("cvflow.test_split") == split:
        metrics, note = champion.metrics, ""
    else:
        metrics = json.loads(tags.get(measured_tag(digest, split), "{}"))
        note = measured_again_note(champion)
    if metric not in metrics:
        return None
    return Standing(metrics[metric], note)


def measured_again_note(champion: VersionInfo) -> str:
    """Return the note on a score that the champion got on other test data than its own."""
    return f" (version {champion.version}, measured again: the test data has changed)"


def measured_tag(digest: str, split: str) -> str:
    """Return the tag for a version's metrics on the data with this digest."""
    return f"{MEASURED}{digest}.{split}"


def rule_tag(rule: Promote, objective: Objective) -> dict[str, str]:
    """Return the tag that carries a version's promotion rule."""
    content = {"rule": rule.model_dump(), "objective": list(objective)}
    return {RULE: json.dumps(content)}


def promote_by_hand(model: str, version: int | None, dry_run: bool = False) -> Promotion:
    """Make a version champion, whatever its rule decides. dry_run: change nothing."""
    if version is None:
        raise RequestError(_version_fault(model))
    candidate = find_version(f"models:/{model}/{version}")
    champion = model_registry.champion(model)
    by_rule = decide_by_own_rule(candidate, champion)
    if not dry_run:
        champions.crown(model, version, f"by hand; the rule says {by_rule.reason}")
    return Promotion(
        model=model,
        version=version,
        champion=champion.version if champion else None,
        by_rule=by_rule,
        done=not dry_run,
    )


def _version_fault(model: str) -> Fault:
    """Return the fault of a promotion without a version, which lists the versions there are."""
    versions = [info.version for info in model_registry.versions(model)]
    if not versions:
        # raises RequestError if there is no such model
        versions = [find_version(f"models:/{model}@champion").version]
    expected = f"a version: {', '.join(map(str, sorted(versions)))}"
    fix = f"Type 'cvflow promote {model} {versions[0]}', or --rollback."
    return Fault("VERSION", "none", expected, fix)


def roll_back(model: str, version: int | None = None, dry_run: bool = False) -> Promotion:
    """Make the former champion champion again.

    Raises RequestError if there was none, or if a version is named as well.
    """
    if version is not None:
        expected = "--rollback alone: it finds the former champion"
        fix = f"Type 'cvflow promote {model} {version}' for that version."
        raise RequestError(Fault("VERSION", f"{version} with --rollback", expected, fix))
    old, new = champions.former(model) if dry_run else champions.roll_back(model)
    return Promotion(model, version=new, champion=old, by_rule=None, done=not dry_run)


def decide_by_own_rule(candidate: VersionInfo, champion: VersionInfo | None) -> Decision:
    """Apply the rule that a version was registered with, to the numbers in the registry.

    If the champion's score on the same data is not there, the champion is measured, if the data are.
    """
    if RULE not in candidate.tags:
        return Decision(False, "challenger: no rule was registered with this version")
    content = json.loads(candidate.tags[RULE])
    rule = Promote.model_validate(content["rule"])
    objective = Objective(*content["objective"])
    alone = decide(rule, objective, candidate.metrics, None)
    if champion is None or champion.version == candidate.version or not rule.better_than_champion:
        return alone
    digest, split = candidate.tags["cvflow.test_digest"], candidate.tags["cvflow.test_split"]
    standing = known_score(champion, objective.metric, digest, split)
    standing = standing or _measured_here(champion, candidate, objective.metric)
    if standing is None:
        reason = alone.reason[alone.reason.index(":") :]
        unknown = (
            f"the score of the champion, version {champion.version}, on the same data is not known, "
            "and that data is not here"
        )
        return Decision(False, f"challenger{reason}; {unknown}")
    return decide(rule, objective, candidate.metrics, standing)


def _measured_here(champion: VersionInfo, candidate: VersionInfo, metric: str) -> Standing | None:
    """Measure the champion on the candidate's test data; None if its run no longer has them."""
    data = Path("runs") / candidate.tags.get("cvflow.run", "") / "data"
    if not (data / "dataset.json").is_file():
        return None
    if PreparedDataset(data).digest != candidate.tags["cvflow.test_digest"]:
        return None
    split = candidate.tags["cvflow.test_split"]
    metrics = measure_again(champion, data, split, 256, Compute(), Path(".cvflow").absolute())
    return Standing(metrics[metric], measured_again_note(champion))


def measure_again(
    champion: VersionInfo,
    data: Path,
    split: str,
    batch_size: int,
    compute: Compute,
    state: Path,
    views: Sequence[Component] = (),
) -> dict[str, Any]:
    """Measure the champion on other test data, or by other views; return its metrics."""
    # torch comes with it, and most promotions only read numbers
    from cvflow.stages.evaluate import measure

    directory = model_registry.download(f"models:/{champion.name}/{champion.version}")
    return measure(directory, data, split, batch_size, compute, state, views).metrics
