"""What is compared of several runs: tables with one value for each run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

from cvflow.runtime.tracking import flatten
from cvflow.stages.report.finished_run import Finished

FINGERPRINT = "training fingerprint"


@dataclass(frozen=True)
class Comparison:
    """Several runs beside each other.

    metrics, recipe, cost: what -> one value for each run, in the order of ``runs``; None if a run has
    none. same_data: whether all were measured on the same split of the same data.
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
        """Return JSON data, in which tables are what -> run -> value."""
        return {
            **vars(self),
            "runs": list(self.runs),
            "measured_on": self._by_run(self.measured_on),
            "metrics": self._rows_by_run(self.metrics),
            "recipe": self._rows_by_run(self.recipe),
            "cost": self._rows_by_run(self.cost),
        }

    def _by_run(self, row: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.runs, row, strict=True))

    def _rows_by_run(self, table: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
        rows = {}
        for key, row in table.items():
            rows[key] = self._by_run(row)
        return rows


def beside(columns: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Join one mapping for each run into key -> a value for each run, keys in order of appearance."""
    table: dict[str, list[Any]] = {}
    for index, column in enumerate(columns):
        for key, value in column.items():
            row = table.setdefault(key, [None] * len(columns))
            row[index] = value
    return table


def metrics(runs: Sequence[Finished]) -> dict[str, list[Any]]:
    """Return all metrics, the objective first."""
    table = beside([run.measured["metrics"] for run in runs])
    objective = runs[0].objective.metric
    return {objective: table[objective], **table}


def recipes(runs: Sequence[Finished]) -> dict[str, list[Any]]:
    """Return the recipe keys that differ.

    A section that is empty in one run is left out: its keys in the other runs tell the difference.
    """
    values = list(map(recipe_values, runs))
    differing = {}
    for key, row in beside(values).items():
        if len(set(row)) > 1:
            differing[key] = row
    # an empty section is a value, and stands beside the keys that another run has in it
    sections = set(chain.from_iterable(map(sections_of, differing)))
    return {key: row for key, row in differing.items() if key not in sections}


def sections_of(key: str) -> Iterator[str]:
    """Yield the sections that a dotted key stands in, innermost first."""
    section, dot, _ = key.rpartition(".")
    while dot:
        yield section
        section, dot, _ = section.rpartition(".")


def recipe_values(finished: Finished) -> dict[str, str]:
    """Return the recipe that a run was trained by, as dotted key -> text."""
    recipe = dict(finished.run.trained_by)
    recipe.pop("cvflow", None)
    return dict(flatten(recipe))


def cost(runs: Sequence[Finished]) -> dict[str, list[Any]]:
    """Return what each training took, and the model that came of it."""
    columns = []
    for run in runs:
        columns.append(dict(costs(run)))
    return beside(columns)


def costs(finished: Finished) -> Iterator[tuple[str, Any]]:
    """Yield (what, value) for one run."""
    epochs, steps = [0], [0]
    for point in finished.points:
        steps.append(point.step)
        if "epoch" in point.metrics:
            epochs.append(int(point.metrics["epoch"]))
    yield "epochs", max(epochs)
    yield "steps", max(steps)
    yield "training seconds", sum(finished.seconds.values()) or None
    speeds = [speed for _, speed in finished.by_epoch.get("images_per_second", ()) if speed is not None]
    yield "images a second", median(speeds) if speeds else None
    size = 0
    for file in finished.run.path("model").iterdir():
        size += file.stat().st_size
    yield "model, MB", size / 1e6
    yield "model version", model_version(finished)
    yield FINGERPRINT, finished.read("model/model.json")["fingerprint"]
    yield "cvflow", finished.run.resolved["cvflow"]["version"]


def model_version(finished: Finished) -> str | None:
    """Return the URI of the run's registered model; None if it has none."""
    file = finished.run.path("registered.json")
    if not file.exists():
        return None
    return str(json.loads(file.read_text())["uri"])
