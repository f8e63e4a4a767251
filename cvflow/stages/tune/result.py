"""The files that a search leaves: best.yaml, the ranking as data, and a page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cvflow.config import merge
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.engine.search.journal import Trial
from cvflow.project.graph import Run, find_entry
from cvflow.recipe.layers import nest
from cvflow.stages.tune.report import search_page
from cvflow.stages.tune.trial_recipe import nested

BEST, TRIALS, PAGE = "best.yaml", "trials.json", "search.html"


def write_results(run: Run, conductor: Conductor) -> str:
    """Write ``runs/<name>/search`` and return its page. best.yaml needs a trial with a score."""
    out = run.path("search")
    out.mkdir(parents=True, exist_ok=True)
    ranking = ranked(conductor.trials, conductor.objective)
    without_score = [trial for trial in conductor.trials if trial not in ranking]
    content = {
        "metric": conductor.score_name,
        "direction": conductor.objective.direction,
        "samples": conductor.samples,
        "closed": conductor.closed,
        "trials": list(map(asdict, [*ranking, *without_score])),
    }
    (out / TRIALS).write_text(json.dumps(content, indent=1) + "\n")
    if ranking:
        (out / BEST).write_text(best_yaml(run, conductor, ranking[0]))
    page = search_page(run.name, conductor)
    (out / PAGE).write_text(page, encoding="utf-8")
    return page


def best_yaml(run: Run, conductor: Conductor, best: Trial) -> str:
    """Return a recipe: the one that was searched, with its plain overrides and the best params."""
    entry = find_entry(run.name)
    recipe = Path(entry["recipe"])
    changes = merge(plain_overrides(entry), nested(best.params))
    model = changes.get("register", {}).get("model") or run.recipe.register_.model or recipe.stem
    changes = merge(changes, {"register": {"model": model}})
    # paths in a recipe are relative to its own file
    extended = recipe if recipe.is_absolute() else os.path.relpath(recipe, run.path("search"))
    content = {"extends": str(extended), **changes}
    ended = sum(trial.ended for trial in conductor.trials)
    score = f"{conductor.score_name} {best.score:.6g} (trial {best.number})"
    header = f"# The best of {ended} trials: {score}.\n"
    return header + yaml.safe_dump(content, sort_keys=False, width=120)


def plain_overrides(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's overrides as a recipe writes them, without those of the search."""
    data: dict[str, Any] = {}
    for key, value in (entry.get("overrides") or {}).items():
        parts = key.split(".")
        if parts[0] != "search":
            data = merge(data, nest(parts, value))
    return data


def read_results(run: Run) -> dict[str, Any]:
    """Read trials.json of a search: {metric, direction, samples, closed, trials: best first}."""
    content: dict[str, Any] = json.loads((run.path("search") / TRIALS).read_text())
    return content
