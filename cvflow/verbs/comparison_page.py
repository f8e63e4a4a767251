"""The page of a comparison of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from cvflow.draw import Block, Curves, Section, Short, Table, Text, page
from cvflow.stages.report.finished_run import Finished
from cvflow.verbs.comparison import FINGERPRINT, Comparison, beside
from cvflow.verbs.disagreement import Disagreement


def comparison_page(comparison: Comparison, runs: Sequence[Finished], pairs: Sequence[Disagreement]) -> str:
    """Return the page as HTML. pairs: the first run with each of the others."""
    title = " and ".join(comparison.runs)
    return page(title, list(sections(comparison, runs, pairs)), "Runs compared")


def sections(
    comparison: Comparison, runs: Sequence[Finished], pairs: Sequence[Disagreement]
) -> Iterator[Section]:
    """Yield the sections of the page."""
    yield results(comparison)
    yield differences(comparison)
    yield Section("Training", list(curves(runs)))
    yield costs(comparison)
    for pair in pairs:
        first, second = pair.names
        note = ""
        if not pair.same_data:
            note = "Not measured on the same data: images are joined by their ids."
        title = f"Disagreement of {first} and {second}"
        yield Section(title, list(pair.blocks()), note)


def results(comparison: Comparison) -> Section:
    """Return the metrics, and the data that they were measured on."""
    measured_on = shortened(comparison.measured_on)
    note = "Not measured on the same data: the figures do not compare."
    if comparison.same_data:
        note = f"All measured on {measured_on[0].text}."
    rows = {name.replace("_", " "): row for name, row in comparison.metrics.items()}
    blocks: list[Block] = [
        table("measure", comparison, rows),
        table("", comparison, {"measured on": measured_on}),
    ]
    return Section("Results", blocks, note)


def differences(comparison: Comparison) -> Section:
    """Return the recipe keys that differ."""
    blocks: list[Block] = [Text("The recipes are the same.")]
    if comparison.recipe:
        blocks = [table("key", comparison, comparison.recipe)]
    return Section("What differs", blocks, "Recipe keys that are not the same in all runs.")


def costs(comparison: Comparison) -> Section:
    """Return what each training took, with fingerprints shortened."""
    rows = dict(comparison.cost)
    rows[FINGERPRINT] = shortened(rows[FINGERPRINT])
    return Section("Cost", [table("", comparison, rows)])


def shortened(texts: Sequence[str]) -> list[Short]:
    """Return the texts with short digests, and the whole texts on hover."""
    return [Short(short(text), text) for text in texts]


def short(text: str) -> str:
    """Return the text with each digest in it cut to its first eight digits."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24}(\.dir)?\b", r"\1", text)


def table(what: str, comparison: Comparison, rows: Mapping[str, Sequence[Any]]) -> Table:
    """Return a table with a column for each run. what: the heading of the first column."""
    cells = []
    for key, row in rows.items():
        cells.append([key, *row])
    return Table([what, *comparison.runs], cells)


def curves(runs: Sequence[Finished]) -> Iterator[Curves]:
    """Yield the runs' curves over each other: losses, the objective and losses on val, the lr."""
    by_step = beside([run.by_step for run in runs])
    by_epoch = beside([run.by_epoch for run in runs])
    objective, direction = runs[0].objective
    losses = [name for name in by_step if name != "lr"]
    for name in losses:
        yield over_each_other(runs, f"Training {name}", by_step[name], "step")
    # the objective may itself be a loss
    for name in dict.fromkeys([objective, *losses]):
        if f"val_{name}" in by_epoch:
            best = direction if name == objective else "min"
            yield over_each_other(runs, f"Validation {name}", by_epoch[f"val_{name}"], "epoch", best)
    if "lr" in by_step:
        yield over_each_other(runs, "Learning rate", by_step["lr"], "step")


def over_each_other(
    runs: Sequence[Finished],
    title: str,
    rows: Sequence[Any],
    x_label: str,
    best: Literal["max", "min"] | None = None,
) -> Curves:
    """Return one figure with a line for each run.

    rows: each run's points, None if it has none. best: which point of each line is marked.
    """
    series = {}
    for finished, points in zip(runs, rows, strict=True):
        if points:
            series[finished.run.name] = points
    marked = dict.fromkeys(series, best) if best else {}
    return Curves(title, series, x_label=x_label, best=marked)
