"""``cvflow run --dry-run``: what each stage would do, and why. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cvflow.project.graph import STAGES, Run, Stage, lookup, read_runs
from cvflow.project.resolved import cache_file, resolve_layers
from cvflow.recipe.layers import Layered
from cvflow.runtime import dvc


class Step(NamedTuple):
    """why: what has changed since the stage last ran; empty where it is up to date."""

    stage: str
    why: str


def plan(name: str, layered: Layered) -> list[Step]:
    """Every stage after resolve. A stage that would run may yet find its result in the run cache."""
    cached = cache_file(layered)
    recipe = yaml.safe_load(cached.read_text()) if cached.exists() else resolve_layers(layered).recipe
    locked = yaml.safe_load(Path("dvc.lock").read_text())["stages"] if Path("dvc.lock").exists() else {}
    ran = [stage for stage in STAGES if f"{stage.name}@{name}" in locked]
    changed = (
        dvc.changed_files([f"{stage.name}@{name}" for stage in ran]) if ran and name in read_runs() else {}
    )
    steps: dict[str, str] = {}
    for stage in STAGES:
        address = f"{stage.name}@{name}"
        if address not in locked:
            steps[stage.name] = "never ran"
            continue
        recorded = locked[address].get("params", {}).get(str(Run(name).path("recipe.yaml")), {})
        why = [
            *changed_keys(stage, recorded, recipe),
            *changed.get(address, ()),
            *(f"after {s}" for s in makers(stage) if steps[s]),
        ]
        steps[stage.name] = ", ".join(why)
    return [Step(stage, why) for stage, why in steps.items()]


def changed_keys(stage: Stage, recorded: Mapping[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    """The keys below the stage's that differ from those of its last run."""
    for key in stage.keys:
        yield from _differences(key, recorded.get(key), lookup(recipe, key))


def _differences(key: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for inner in {**old, **new}:
            yield from _differences(f"{key}.{inner}", old.get(inner), new.get(inner))
    elif old != new:
        yield key


def makers(stage: Stage) -> list[str]:
    """The stages whose outputs the stage reads."""
    return [other.name for other in STAGES if set(other.outs) & set(stage.deps)]
