"""What a search leaves: best.yaml, the ranking as data, and a page."""

from __future__ import annotations

import json
import os
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
    """Write ``runs/<name>/search``; gives the page. Without a trial that has a score there is no best.yaml."""
    out = run.path("search")
    out.mkdir(parents=True, exist_ok=True)
    order = ranked(conductor.trials, conductor.objective)
    rest = [trial for trial in conductor.trials if trial not in order]
    said = {
        "metric": conductor.score_name,
        "direction": conductor.objective.direction,
        "samples": conductor.samples,
        "closed": conductor.closed,
        "trials": [asdict(trial) for trial in (*order, *rest)],
    }
    (out / TRIALS).write_text(json.dumps(said, indent=1) + "\n")
    if order:
        (out / BEST).write_text(best_yaml(run, conductor, order[0]))
    page = search_page(run.name, conductor)
    (out / PAGE).write_text(page, encoding="utf-8")
    return page


def best_yaml(run: Run, conductor: Conductor, best: Trial) -> str:
    """A recipe: the search's own recipe with its plain overrides and the best params."""
    entry = find_entry(run.name)
    data: dict[str, Any] = {}
    for key, value in (entry.get("overrides") or {}).items():
        if key.split(".")[0] != "search":
            data = merge(data, nest(key.split("."), value))
    data = merge(data, nested(best.params))
    ended = sum(trial.ended for trial in conductor.trials)
    header = f"# The best of {ended} trials: {conductor.score_name} {best.score:.6g} (trial {best.number}).\n"
    base = (
        os.path.relpath(Path(entry["recipe"]), run.path("search"))
        if not Path(entry["recipe"]).is_absolute()
        else entry["recipe"]
    )
    model = data.get("register", {}).get("model") or run.recipe.register_.model or Path(entry["recipe"]).stem
    data = merge(data, {"register": {"model": model}})
    return header + yaml.safe_dump({"extends": str(base), **data}, sort_keys=False, width=120)


def read_results(run: Run) -> dict[str, Any]:
    """trials.json of a search: {metric, direction, samples, closed, trials: best first}."""
    content: dict[str, Any] = json.loads((run.path("search") / TRIALS).read_text())
    return content
