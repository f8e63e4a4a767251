"""compare: finished runs beside each other, as tables and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvflow.errors import Fault, RequestError
from cvflow.project.graph import Run, find_entry
from cvflow.project.writable import check_file
from cvflow.stages.report.finished_run import Finished
from cvflow.verbs.comparison import Comparison, cost, metrics, recipes
from cvflow.verbs.comparison_page import comparison_page
from cvflow.verbs.disagreement import Disagreement

NEEDED = ("recipe.yaml", "data", "validation.json", "model", "history.jsonl", "evaluation")
"""Files of a run without which it is not finished."""


def compare(names: Sequence[str], out: Path | None = None) -> Comparison:
    """Compare finished runs by name and write the page.

    Raises RequestError if a run is missing or not finished.
    """
    runs = finished(names)
    path = out or Path("runs") / f"compare-{'-'.join(names)}.html"
    check_file(path)
    measured_on = tuple(map(measured_data, runs))
    pairs = disagreements(runs, measured_on)
    comparison = Comparison(
        runs=tuple(names),
        measured_on=measured_on,
        same_data=len(set(measured_on)) == 1,
        metrics=metrics(runs),
        recipe=recipes(runs),
        cost=cost(runs),
        disagreements=[pair.plain() for pair in pairs],
        page=str(path),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison_page(comparison, runs, pairs), encoding="utf-8")
    return comparison


def finished(names: Sequence[str]) -> list[Finished]:
    """Return the runs with what is compared of them. Raises RequestError with every fault."""
    if len(set(names)) < 2 or len(set(names)) < len(names):
        fix = "Type 'cvflow compare RUN RUN': two names or more, each once."
        got = ", ".join(names) or "nothing"
        raise RequestError(Fault("RUN", got, "two different runs or more", fix))
    faults: list[Fault] = []
    for name in names:
        faults += unfinished(name)
    if faults:
        raise RequestError(*faults)
    return [Finished(Run(name)) for name in names]


def unfinished(name: str) -> list[Fault]:
    """Return a fault if there is no such run, or if it has not come to its end."""
    try:
        entry = find_entry(name)
    except RequestError as error:
        return list(error.faults)
    for part in NEEDED:
        path = Run(name).path(part)
        if not path.exists():
            fix = f"Type 'cvflow run {entry['recipe']} --name {name}'."
            return [Fault(str(path), "nothing", "a finished run", fix)]
    return []


def measured_data(finished: Finished) -> str:
    """Return on what the run was measured."""
    split, digest = finished.measured["split"], finished.measured["data_digest"]
    return f"{split} of {digest}"


def disagreements(runs: Sequence[Finished], measured_on: Sequence[str]) -> list[Disagreement]:
    """Return the disagreement of the first run with each of the others, if all have the same task."""
    tasks = {run.recipe.task.name for run in runs}
    if len(tasks) > 1:
        return []
    first, first_data = runs[0], measured_on[0]
    # joined by their ids even if the data differ: some images may be the same
    pairs = []
    for other, data in zip(runs[1:], measured_on[1:], strict=True):
        pairs.append(Disagreement(first, other, first_data == data))
    return pairs
