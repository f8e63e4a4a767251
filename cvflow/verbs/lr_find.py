"""``cvflow lr-find``: the learning-rate range test on a run's prepared data, in this process; its plot and what to type."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.draw import Block, Curves, Facts, Section, page
from cvflow.engine.job import make_job
from cvflow.engine.lr_find import RangeTest, first_stepping
from cvflow.engine.lr_find import lr_find as range_test
from cvflow.engine.session import Session
from cvflow.errors import Fault, RequestError
from cvflow.project import project
from cvflow.project.dry_run import plan
from cvflow.project.graph import Run, read_recipe, read_runs
from cvflow.project.pipeline import entered, reproduce, requested
from cvflow.project.resolved import answer_file
from cvflow.recipe.layers import load
from cvflow.runtime.launch import launch


@dataclass(frozen=True)
class Found:
    """lr: the suggestion, two digits of the steepest descent. tenth: the other rule's. command: what to type."""

    lr: float
    tenth: float
    command: str
    plot: str


def lr_find(
    recipe: str, overrides: Mapping[str, Any], name: str | None, low: float, high: float, steps: int, quiet: bool = False
) -> Found:  # fmt: skip
    """Raise the lr from ``low`` to ``high`` on the run's prepared data, write ``runs/<name>/lr-find.html`` and ``.json``.

    A new run is entered into the project and prepared. One that is there stays as it is: the overrides count for this test alone.
    """
    if not 0 < low < high:
        raise RequestError(
            Fault(
                "--min, --max",
                f"{low:g}, {high:g}",
                "two rates above 0, the lower first",
                "Type --min 1e-6 --max 10.",
            )
        )
    with prepared(recipe, overrides, name, quiet) as (run, resolved):
        result: RangeTest = launch(
            worker, resolved.compute.model_copy(update={"workers": 0}), run.state / "lr-find",
            recipe=resolved, dataset=run.path("data"), low=low, high=high, steps=steps,
        )  # fmt: skip
    lr = float(f"{result.steepest:.1e}")
    found = Found(
        lr,
        float(f"{result.tenth:.1e}"),
        to_type(recipe, overrides, name, resolved, lr),
        str(run.path("lr-find.html")),
    )
    write(run, result, found)
    return found


@contextmanager
def prepared(
    recipe: str, overrides: Mapping[str, Any], name: str | None, quiet: bool
) -> Iterator[tuple[Run, Recipe]]:
    """The run with its data, which nobody changes meanwhile, and the recipe with the overrides, resolved aside."""
    file, chosen = requested(recipe, name)
    run, known = Run(chosen), chosen in read_runs()
    with (
        project.locked(f"run-{chosen}", f"at work on run {chosen}")
        if known
        else entered(recipe, overrides, name)
    ):
        kept = project.place(file)
        layered = load(kept if kept.exists() else file, overrides)
        resolved = read_recipe(yaml.safe_load(answer_file(layered).read_text()))
        if not run.path("model").exists():  # else the files of the finished run stay in step with each other
            reproduce([f"prepare@{chosen}"], quiet=quiet)
        if why := dict(plan(chosen, layered))["prepare"]:
            fix = f"Type --name {chosen}-lr, or 'cvflow run {recipe}' first."
            raise RequestError(
                Fault(
                    f"run {chosen}", f"prepared data that are not this recipe's: {why}", "the same data", fix
                )
            )
        yield run, resolved


def worker(session: Session, recipe: Recipe, dataset: Path, low: float, high: float, steps: int) -> RangeTest:
    return range_test(make_job(recipe, PreparedDataset(dataset), session), low, high, steps)


def to_type(recipe: str, overrides: Mapping[str, Any], name: str | None, resolved: Recipe, lr: float) -> str:
    """The command that trains with the rate; words where the phase has an optimiser of its own, which no override reaches."""
    phases = resolved.train.phases
    index = resolved.train.plan().index(first_stepping(resolved.train.plan()))
    if phases and "optimizer" in phases[index]:
        return f"optimizer: {{lr: {lr:g}}} in phase {index + 1} of train.phases"
    keys = {**overrides, "train.optimizer.lr": lr}
    given = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items()]
    return shlex.join(["cvflow", "run", recipe, *given, *(["--name", name] if name else [])])


def write(run: Run, result: RangeTest, found: Found) -> None:
    """The curve as JSON and as a page."""
    run.path("lr-find.json").write_text(
        json.dumps({**asdict(result), "command": found.command}, indent=1) + "\n"
    )
    series = {
        "loss": list(zip(result.lrs, result.losses, strict=True)),
        "smoothed": list(zip(result.lrs, result.smoothed, strict=True)),
    }
    facts = {
        "steepest descent": found.lr,
        "a tenth of the least loss's": found.tenth,
        "ended": "the loss diverged" if result.diverged else "at the greatest rate",
        "type": found.command,
    }
    blocks: list[Block] = [
        Facts(facts),
        Curves(
            "Loss by learning rate", series, x_label="learning rate", x_log=True, best={"smoothed": "min"}
        ),
    ]
    note = "The rate was raised from step to step (Smith 2015, arXiv 1506.01186); nothing of this training is kept."
    run.path("lr-find.html").write_text(
        page(f"{run.name}: learning rate", [Section("Range test", blocks, note)]), encoding="utf-8"
    )
