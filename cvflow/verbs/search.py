"""``cvflow tune``: enter a search into the project, let DVC run it, and register its best if asked to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cvflow.errors import InterruptedRunError
from cvflow.project import project
from cvflow.project.graph import Run, read_recipe
from cvflow.project.pipeline import Outcome, entered, reproduce, requested
from cvflow.project.pipeline import run as run_pipeline
from cvflow.project.resolved import answer_file
from cvflow.recipe.layers import load
from cvflow.space import is_written


@dataclass(frozen=True)
class SearchResult:
    """What a search has come to.

    trials: best first, as in trials.json. closed: why no further trial begins. best: recipe of the best
    trial, None if no trial has a score. registered: the run of that recipe, if it was asked for.
    """

    run: str
    metric: str
    trials: list[dict[str, Any]]
    samples: int
    closed: str
    interrupted: bool
    best: Path | None
    page: Path
    registered: Outcome | None = None


def search(
    recipe: str,
    overrides: Mapping[str, Any],
    name: str | None = None,
    register: bool = False,
    quiet: bool = False,
) -> SearchResult:
    """Search a recipe's space.

    overrides: dotted key -> value; a value such as ``int(1,9)`` makes the key one of the space.
    register: train the best on train and val together, measure and register it, and promote it by the
    recipe's rule.
    """
    changes = as_space(overrides)
    chosen = f"{Path(recipe).stem}-search" if name is None else name
    algorithm = check(recipe, changes, chosen)
    sys.stderr.write(grid_note(algorithm, overrides))
    with entered(recipe, changes, chosen) as chosen:
        project.write_search(chosen)
        interrupted = reproduce_search(Run(chosen), quiet)
    result = read(Run(chosen), interrupted)
    if register and result.best is not None and not interrupted:
        return register_best(result, result.best, quiet)
    return result


def as_space(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides, with those that are dimensions moved into the search's space."""
    changes: dict[str, Any] = {}
    for key, value in overrides.items():
        if is_written(value):
            key = f"search.space.{key}"
        changes[key] = value
    return changes


def reproduce_search(run: Run, quiet: bool) -> bool:
    """Let DVC run the search; return whether it was interrupted after its first results."""
    stage = f"tune@{run.name}"
    before = unsent_since(run)
    try:
        reproduce([stage], quiet=quiet)
        # the stage is unchanged, so DVC skipped it
        skipped = before is not None and unsent_since(run) == before
        if skipped:
            sys.stderr.write("MLflow lacks trials of this search: sending them\n")
            reproduce([stage], force_one=True, quiet=quiet)
    except InterruptedRunError:
        if not (run.path("search") / "trials.json").exists():
            raise
        return True
    return False


def grid_note(algorithm: str, overrides: Mapping[str, Any]) -> str:
    """Return a line for users who write a grid and get another kind of search."""
    if algorithm == "grid":
        return ""
    for value in overrides.values():
        if is_written(value) and value.strip().startswith("grid"):
            return (
                f"{algorithm}: settings are drawn from grid(...); "
                "for every combination type --algorithm grid\n"
            )
    return ""


def unsent_since(run: Run) -> int | None:
    """Return when MLflow was last seen to lack trials of the search, in ns; None if it has all."""
    from cvflow.stages.tune.tracked import UNSENT

    note = run.state / UNSENT
    return note.stat().st_mtime_ns if note.exists() else None


def check(recipe: str, overrides: Mapping[str, Any], name: str) -> str:
    """Check the recipe, then the search, before anything is written; return its algorithm's name.

    Raises RequestError with every fault.
    """
    file, _ = requested(recipe, name)
    resolved = yaml.safe_load(answer_file(load(file, overrides)).read_text())
    # torch comes with it: only once the recipe itself is right
    from cvflow.stages.tune.check import check_search

    section = read_recipe(resolved).search
    check_search(resolved, section)
    return section.algorithm.name


def read(run: Run, interrupted: bool) -> SearchResult:
    """Read the result of a search from its files."""
    from cvflow.stages.tune.result import BEST, PAGE, read_results

    content = read_results(run)
    folder = run.path("search")
    best = folder / BEST
    return SearchResult(
        run=run.name,
        metric=content["metric"],
        trials=content["trials"],
        samples=content["samples"],
        closed=content["closed"],
        interrupted=interrupted,
        best=best if best.exists() else None,
        page=folder / PAGE,
    )


def register_best(result: SearchResult, best: Path, quiet: bool) -> SearchResult:
    """Run the best recipe, on train and val together; DVC makes it follow from the search."""
    name = f"{result.run.removesuffix('-search')}-best"
    outcome = run_pipeline(str(best), {"data.split.train_on_val": True}, name, quiet=quiet)
    return replace(result, registered=outcome)
