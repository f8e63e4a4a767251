"""compare: runs beside each other: what was different, how good each is, what it cost, on which images they disagree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from cvflow.draw import Block, Curves, Section, Short, Table, Text, page
from cvflow.errors import Fault, RequestError
from cvflow.project.graph import Run, find_entry
from cvflow.project.writable import check_file
from cvflow.runtime.tracking import flatten
from cvflow.stages.report.finished_run import Finished
from cvflow.verbs.disagreement import Disagreement

NEEDED = ("data", "validation.json", "model", "history.jsonl", "evaluation")

FINGERPRINT = "training fingerprint"


@dataclass(frozen=True)
class Comparison:
    """Each table: what -> one value a run, in the order of ``runs``; None where a run has none.

    same_data: whether all were measured on the same split of the same data.
    """

    runs: tuple[str, ...]
    measured_on: tuple[str, ...]
    same_data: bool
    metrics: Mapping[str, Sequence[float | None]]
    recipe: Mapping[str, Sequence[str | None]]
    cost: Mapping[str, Sequence[Any]]
    disagreements: Sequence[Mapping[str, Any]]
    page: str

    def plain(self) -> dict[str, Any]:
        """As JSON data: tables as what -> run -> value."""
        tables = {name: getattr(self, name) for name in ("metrics", "recipe", "cost")}
        by_run = {
            name: {key: dict(zip(self.runs, row, strict=True)) for key, row in table.items()}
            for name, table in tables.items()
        }
        measured = dict(zip(self.runs, self.measured_on, strict=True))
        return {**vars(self), **by_run, "runs": list(self.runs), "measured_on": measured}


def compare(names: Sequence[str], out: Path | None = None) -> Comparison:
    """Compare finished runs by name and write the page; RequestError where one is not there or not finished."""
    runs = finished(names)
    path = out or Path("runs") / f"compare-{'-'.join(names)}.html"
    check_file(path)
    measured = [f"{done.measured['split']} of {done.measured['data_digest']}" for done in runs]
    same_data, same_task = len(set(measured)) == 1, len({done.recipe.task.name for done in runs}) == 1
    pairs = (
        [
            Disagreement(runs[0], other, measured[0] == at)
            for other, at in zip(runs[1:], measured[1:], strict=True)
        ]
        if same_task
        else []
    )
    found = Comparison(
        tuple(names),
        tuple(measured),
        same_data,
        metrics(runs),
        recipes(runs),
        cost(runs),
        [pair.plain() for pair in pairs],
        str(path),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        page(" and ".join(names), list(sections(found, runs, pairs)), "Runs compared"), encoding="utf-8"
    )
    return found


def finished(names: Sequence[str]) -> list[Finished]:
    """The runs, each with what is compared; every fault at once."""
    if len(set(names)) < 2 or len(set(names)) < len(names):
        fix = "Type 'cvflow compare RUN RUN': two names or more, each once."
        raise RequestError(Fault("RUN", ", ".join(names) or "nothing", "two different runs or more", fix))
    faults: list[Fault] = []
    for name in names:
        try:
            find_entry(name)
            faults += [
                missing(Run(name), part)
                for part in ("recipe.yaml", *NEEDED)
                if not Run(name).path(part).exists()
            ][:1]
        except RequestError as error:
            faults += error.faults
    if faults:
        raise RequestError(*faults)
    return [Finished(Run(name)) for name in names]


def missing(run: Run, part: str) -> Fault:
    return Fault(
        str(run.path(part)),
        "nothing",
        "a finished run",
        f"Type 'cvflow run {find_entry(run.name)['recipe']} --name {run.name}'.",
    )


def beside(columns: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """One mapping a run as key -> a value each, in the order in which the keys come."""
    return {
        key: [column.get(key) for column in columns]
        for key in dict.fromkeys(key for column in columns for key in column)
    }


def metrics(runs: Sequence[Finished]) -> dict[str, list[Any]]:
    """All that was measured, the objective first."""
    table = beside([done.measured["metrics"] for done in runs])
    first = runs[0].objective.metric
    return {first: table[first], **table}


def recipes(runs: Sequence[Finished]) -> dict[str, list[Any]]:
    """The recipe keys that differ; what is empty in one run and filled in another is told by what fills it."""
    flat = [dict(flatten({k: v for k, v in done.run.trained_by.items() if k != "cvflow"})) for done in runs]
    differ = {key: row for key, row in beside(flat).items() if len(set(row)) > 1}
    return {
        key: row for key, row in differ.items() if not any(other.startswith(f"{key}.") for other in differ)
    }


def cost(runs: Sequence[Finished]) -> dict[str, list[Any]]:
    """What each training took and gave."""
    return beside([dict(costs(done)) for done in runs])


def costs(done: Finished) -> Iterator[tuple[str, Any]]:
    speeds = [y for _, y in done.by_epoch.get("images_per_second", ()) if y is not None]
    yield "epochs", max((int(p.metrics["epoch"]) for p in done.points if "epoch" in p.metrics), default=0)
    yield "steps", max((p.step for p in done.points), default=0)
    yield "training seconds", sum(done.seconds.values()) or None
    yield "images a second", median(speeds) if speeds else None
    yield "model, MB", sum(file.stat().st_size for file in done.run.path("model").iterdir()) / 1e6
    registered = done.run.path("registered.json")
    yield "model version", json.loads(registered.read_text())["uri"] if registered.exists() else None
    yield FINGERPRINT, done.read("model/model.json")["fingerprint"]
    yield "cvflow", done.run.resolved["cvflow"]["version"]


def sections(found: Comparison, runs: Sequence[Finished], pairs: Sequence[Disagreement]) -> Iterator[Section]:
    at = [Short(short(place), place) for place in found.measured_on]
    where = (
        f"All measured on {at[0].text}."
        if found.same_data
        else "Not measured on the same data: the figures do not compare."
    )
    rows = {name.replace("_", " "): row for name, row in found.metrics.items()}
    results: list[Block] = [table("measure", found, rows), table("", found, {"measured on": at})]
    yield Section("Results", results, where)
    differ: list[Block] = (
        [table("key", found, found.recipe)] if found.recipe else [Text("The recipes are the same.")]
    )
    yield Section("What differs", differ, "Recipe keys that are not the same in all runs.")
    yield Section("Training", list(curves(runs)))
    made = {
        key: [Short(short(value), value) if key == FINGERPRINT else value for value in row]
        for key, row in found.cost.items()
    }
    yield Section("Cost", [table("", found, made)])
    for pair in pairs:
        note = "" if pair.same_data else "Not measured on the same data: images are joined by their ids."
        yield Section(f"Disagreement of {pair.names[0]} and {pair.names[1]}", list(pair.blocks()), note)


def short(text: str) -> str:
    """The text, of each digest in it the first eight digits."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24}(\.dir)?\b", r"\1", text)


def table(what: str, found: Comparison, rows: Mapping[str, Sequence[Any]]) -> Table:
    return Table([what, *found.runs], [[key, *row] for key, row in rows.items()])


def curves(runs: Sequence[Finished]) -> Iterator[Curves]:
    """The runs' curves over each other: losses, the objective and the losses on val, the learning rate."""
    steps, epochs = beside([done.by_step for done in runs]), beside([done.by_epoch for done in runs])
    metric, direction = runs[0].objective
    losses = [name for name in steps if name != "lr"]
    for name in losses:
        yield over_each_other(runs, f"Training {name}", steps[name], "step")
    for name in dict.fromkeys([metric, *losses]):
        if f"val_{name}" in epochs:
            yield over_each_other(
                runs,
                f"Validation {name}",
                epochs[f"val_{name}"],
                "epoch",
                direction if name == metric else "min",
            )
    if "lr" in steps:
        yield over_each_other(runs, "Learning rate", steps["lr"], "step")


def over_each_other(
    runs: Sequence[Finished],
    title: str,
    rows: Sequence[Any],
    x_label: str,
    best: Literal["max", "min"] | None = None,
) -> Curves:
    """rows: each run's points, None where it has none. best: which point of each is marked."""
    series = {done.run.name: points for done, points in zip(runs, rows, strict=True) if points}
    return Curves(title, series, x_label=x_label, best=dict.fromkeys(series, best) if best else {})
