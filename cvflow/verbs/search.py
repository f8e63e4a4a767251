"""``cvflow tune``: a search put into the project, reproduced by DVC, and its best trained and registered where asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
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
class Found:
    """trials: best first, as in trials.json; best: the recipe of the best, None where no trial has a score."""

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
    recipe: str, overrides: Mapping[str, Any], name: str | None = None, register: bool = False, quiet: bool = False
) -> Found:  # fmt: skip
    """Search a recipe's space. overrides: dotted key -> value; a value such as ``int(1,9)`` makes the key one of the space.

    register: the best is trained on train and val together, measured, registered, and promoted by the recipe's rule.
    """
    spaced = {f"search.space.{key}" if is_written(value) else key: value for key, value in overrides.items()}
    chosen = f"{Path(recipe).stem}-search" if name is None else name
    algorithm = check(recipe, spaced, chosen)
    sys.stderr.write(drawn(algorithm, overrides))
    interrupted = False
    with entered(recipe, spaced, chosen) as chosen:
        project.write_search(chosen)
        before = lacking(Run(chosen))
        try:
            reproduce([f"tune@{chosen}"], quiet=quiet)
            if before is not None and lacking(Run(chosen)) == before:  # the stage, unchanged, did not run
                sys.stderr.write("MLflow lacks trials of this search: sending them\n")
                reproduce([f"tune@{chosen}"], force_one=True, quiet=quiet)
        except InterruptedRunError:
            if not (Run(chosen).path("search") / "trials.json").exists():
                raise
            interrupted = True
    found = read(Run(chosen), interrupted)
    if register and found.best is not None and not interrupted:
        found = registered(found, quiet)
    return found


def drawn(algorithm: str, overrides: Mapping[str, Any]) -> str:
    """A line for who writes a grid and gets a search of another kind."""
    if algorithm == "grid" or not any(
        is_written(value) and value.strip().startswith("grid") for value in overrides.values()
    ):
        return ""
    return f"{algorithm}: settings are drawn from grid(...); for every combination type --algorithm grid\n"


def lacking(run: Run) -> int | None:
    """When it was last found, in ns, that MLflow lacks trials of the search; None where it has them all."""
    from cvflow.stages.tune.tracked import UNSENT

    note = run.state / UNSENT
    return note.stat().st_mtime_ns if note.exists() else None


def check(recipe: str, overrides: Mapping[str, Any], name: str) -> str:
    """The recipe, then the search, before anything is written; its algorithm. Raises RequestError."""
    file, _ = requested(recipe, name)
    answer = yaml.safe_load(answer_file(load(file, overrides)).read_text())
    from cvflow.stages.tune.check import check_search

    asked = read_recipe(answer).search
    check_search(answer, asked)
    return asked.algorithm.name


def read(run: Run, interrupted: bool) -> Found:
    """The results of a search, read from its files."""
    from cvflow.stages.tune.result import BEST, PAGE, read_results

    said, folder = read_results(run), run.path("search")
    best = folder / BEST if (folder / BEST).exists() else None
    return Found(
        run.name,
        said["metric"],
        said["trials"],
        said["samples"],
        said["closed"],
        interrupted,
        best,
        folder / PAGE,
    )


def registered(found: Found, quiet: bool) -> Found:
    """The best recipe as a run of its own, on train and val together; DVC makes it follow from the search."""
    name = f"{found.run.removesuffix('-search')}-best"
    outcome = run_pipeline(str(found.best), {"data.split.train_on_val": True}, name, quiet=quiet)
    return Found(**{**vars(found), "registered": outcome})
