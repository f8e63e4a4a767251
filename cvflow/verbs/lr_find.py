"""``cvflow lr-find``: the learning-rate range test on a run's prepared data, in this process."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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
from cvflow.recipe.layers import Layered, load
from cvflow.runtime.launch import launch


@dataclass(frozen=True)
class Suggestion:
    """What a range test suggests.

    lr: where the loss falls fastest, two digits. tenth: a tenth of the lr with the least loss. command:
    what to type. plot: path of the page.
    """

    lr: float
    tenth: float
    command: str
    plot: str


def lr_find(
    recipe: str,
    overrides: Mapping[str, Any],
    name: str | None,
    low: float,
    high: float,
    steps: int,
    quiet: bool = False,
) -> Suggestion:
    """Raise the lr from ``low`` to ``high`` on the run's prepared data.

    Writes ``runs/<name>/lr-find.html`` and ``.json``. A new run is entered into the project and
    prepared. One that is there stays as it is: the overrides count for this test alone.
    """
    if not 0 < low < high:
        expected = "two rates above 0, the lower first"
        fix = "Type --min 1e-6 --max 10."
        raise RequestError(Fault("--min, --max", f"{low:g}, {high:g}", expected, fix))
    with prepared(recipe, overrides, name, quiet) as (run, resolved):
        result: RangeTest = launch(
            worker,
            resolved.compute.model_copy(update={"workers": 0}),
            run.state / "lr-find",
            recipe=resolved,
            dataset=run.path("data"),
            low=low,
            high=high,
            steps=steps,
        )
    lr = float(f"{result.steepest:.1e}")
    suggestion = Suggestion(
        lr=lr,
        tenth=float(f"{result.tenth:.1e}"),
        command=to_type(recipe, overrides, name, resolved, lr),
        plot=str(run.path("lr-find.html")),
    )
    write(run, result, suggestion)
    return suggestion


@contextmanager
def prepared(
    recipe: str, overrides: Mapping[str, Any], name: str | None, quiet: bool
) -> Iterator[tuple[Run, Recipe]]:
    """Yield the run with its data, which nobody changes meanwhile, and the recipe with the overrides.

    The recipe is resolved aside: the run's own stays as it is.
    """
    file, chosen = requested(recipe, name)
    run = Run(chosen)
    with held(recipe, overrides, name, chosen):
        placed = project.place(file)
        layered = load(placed if placed.exists() else file, overrides)
        resolved = read_recipe(yaml.safe_load(answer_file(layered).read_text()))
        # the files of a finished run stay in step with each other
        if not run.path("model").exists():
            reproduce([f"prepare@{chosen}"], quiet=quiet)
        check_data(recipe, chosen, layered)
        yield run, resolved


def held(
    recipe: str, overrides: Mapping[str, Any], name: str | None, run: str
) -> AbstractContextManager[Any]:
    """Lock the run if it is in the project, else enter it."""
    if run in read_runs():
        return project.locked(f"run-{run}", f"at work on run {run}")
    return entered(recipe, overrides, name)


def check_data(recipe: str, run: str, layered: Layered) -> None:
    """Raise RequestError if the run's prepared data are not those of the recipe."""
    reason = dict(plan(run, layered))["prepare"]
    if reason:
        got = f"prepared data that are not this recipe's: {reason}"
        fix = f"Type --name {run}-lr, or 'cvflow run {recipe}' first."
        raise RequestError(Fault(f"run {run}", got, "the same data", fix))


def worker(session: Session, recipe: Recipe, dataset: Path, low: float, high: float, steps: int) -> RangeTest:
    """Run the range test in the session."""
    job = make_job(recipe, PreparedDataset(dataset), session)
    return range_test(job, low, high, steps)


def to_type(recipe: str, overrides: Mapping[str, Any], name: str | None, resolved: Recipe, lr: float) -> str:
    """Return the command that trains with the lr.

    No override reaches the optimiser of a single phase: then the words say where to write it.
    """
    planned = resolved.train.plan()
    index = planned.index(first_stepping(planned))
    phases = resolved.train.phases
    if phases and "optimizer" in phases[index]:
        return f"optimizer: {{lr: {lr:g}}} in phase {index + 1} of train.phases"
    words = ["cvflow", "run", recipe]
    for key, value in {**overrides, "train.optimizer.lr": lr}.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"{key}={text}")
    if name:
        words += ["--name", name]
    return shlex.join(words)


def write(run: Run, result: RangeTest, suggestion: Suggestion) -> None:
    """Write the curve as JSON and as a page."""
    content = {**asdict(result), "command": suggestion.command}
    run.path("lr-find.json").write_text(json.dumps(content, indent=1) + "\n")
    facts = {
        "steepest descent": suggestion.lr,
        "a tenth of the least loss's": suggestion.tenth,
        "ended": "the loss diverged" if result.diverged else "at the greatest rate",
        "type": suggestion.command,
    }
    blocks: list[Block] = [Facts(facts), figure(result)]
    note = (
        "The rate was raised from step to step (Smith 2015, arXiv 1506.01186); "
        "nothing of this training is kept."
    )
    section = Section("Range test", blocks, note)
    html = page(f"{run.name}: learning rate", [section])
    run.path("lr-find.html").write_text(html, encoding="utf-8")


def figure(result: RangeTest) -> Curves:
    """Return the losses by learning rate, with the least of the smoothed ones marked."""
    series = {
        "loss": list(zip(result.lrs, result.losses, strict=True)),
        "smoothed": list(zip(result.lrs, result.smoothed, strict=True)),
    }
    return Curves(
        "Loss by learning rate",
        series,
        x_label="learning rate",
        x_log=True,
        best={"smoothed": "min"},
    )
