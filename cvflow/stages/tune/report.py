"""The page of a search: its course, the ranking, and which keys mattered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvflow.draw import Curves, Numbers, Section, Short, Table, page
from cvflow.draw.parallel import Axis, Parallel
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.engine.search.journal import Trial
from cvflow.space import Dimension, short_names

LEAST = 8
"""Trials below which importance would be noise."""


def search_page(name: str, conductor: Conductor) -> str:
    """The whole page as HTML."""
    order = ranked(conductor.trials, conductor.objective)
    failed = [trial for trial in conductor.trials if trial.state == "failed"]
    sections = [
        Section("Best", [best_numbers(conductor, order), *([ranking(conductor, order)] if order else [])])
    ]
    if order:
        sections.append(Section("Course", [course(conductor)]))
        sections.append(
            Section("Settings", [parallel(conductor, order)], "A line a trial; the better, the stronger.")
        )
    if len(order) >= LEAST and len(conductor.search.space) > 1:
        said = "How much a forest fitted to the trials loses when a key's values are shuffled, as a share of all keys."
        sections.append(Section("Importance", [importance(conductor, order)], said))
    if failed:
        sections.append(
            Section(
                "Failed", [Table(["trial", "reason"], [[trial.number, trial.reason] for trial in failed])]
            )
        )
    search = conductor.search
    return page(
        f"Search {name}",
        sections,
        f"{search.algorithm.name}, scheduler {search.scheduler.name}, seed {search.seed}",
    )


def best_numbers(conductor: Conductor, order: Sequence[Trial]) -> Numbers:
    ended = [trial for trial in conductor.trials if trial.ended]
    return Numbers({
        f"best {conductor.score_name}": order[0].score if order else None,
        "trials": len(ended),
        "epochs": sum(trial.epochs for trial in ended),
        "stopped early": sum(trial.state == "stopped" for trial in ended),
        "failed": sum(trial.state == "failed" for trial in ended),
    })  # fmt: skip


def ranking(conductor: Conductor, order: Sequence[Trial]) -> Table:
    """Every scored trial, best first."""
    keys = list(conductor.search.space)
    rows = [
        [t.number, t.score, t.epochs, round(t.seconds, 1), t.state, *(_cell(t.params.get(key)) for key in keys)] for t in order
    ]  # fmt: skip
    return Table(["trial", conductor.score_name, "epochs", "seconds", "state", *keys], rows, "Ranking")


def _cell(value: Any) -> Any:
    """A setting as it stands in the printed table, the whole number on hover: three decimals would make many rates one."""
    if isinstance(value, float):
        return Short(f"{value:.4g}", repr(value))
    return value if value is None or isinstance(value, (int, str)) else str(value)


def course(conductor: Conductor) -> Curves:
    """Each trial's score, and the best so far."""
    points = [
        (trial.number, trial.score) for trial in conductor.trials if trial.ended and trial.score is not None
    ]
    best: list[tuple[float, float | None]] = []
    for number, score in points:
        former = best[-1][1] if best else None
        best.append(
            (number, score if former is None or conductor.objective.better(score, former) else former)
        )
    return Curves(
        "Course", {"trial": list(points), "best so far": best}, x_label="trial", y_label=conductor.score_name
    )


def parallel(conductor: Conductor, order: Sequence[Trial]) -> Parallel:
    """An axis a key, and the score at the right."""
    names = short_names(conductor.search.space)
    axes = [Axis(names[key], *_ends(dimension)) for key, dimension in conductor.search.space.items()]
    scores = [trial.score for trial in order if trial.score is not None]
    low, high = min(scores), max(scores)
    axes.append(Axis(conductor.score_name, f"{low:.4g}", f"{high:.4g}"))
    lines = []
    for place, trial in enumerate(order):
        at: list[float | None] = [
            place_of(dimension, trial.params.get(key)) for key, dimension in conductor.search.space.items()
        ]
        at.append((scores[place] - low) / (high - low) if high > low else 0.5)
        lines.append((f"trial {trial.number}: {trial.score:.4g}", at, 1 - place / len(order)))
    return Parallel(axes, lines)


def _ends(dimension: Dimension) -> tuple[str, str]:
    first, last = dimension.values[0], dimension.values[-1]
    return tuple(f"{v:.4g}" if isinstance(v, float) else str(v) for v in (first, last))  # type: ignore[return-value]


def place_of(dimension: Dimension, value: Any) -> float | None:
    """0 to 1 along the dimension; None where it was not active."""
    return (
        None
        if value is None or (dimension.kind == "choice" and value not in dimension.values)
        else dimension.place(value)
    )


def importance(conductor: Conductor, order: Sequence[Trial]) -> Table:
    """key -> share, greatest first; a value that was not active counts as one below all others."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    space = conductor.search.space
    places = [
        [place_of(dimension, trial.params.get(key)) for key, dimension in space.items()] for trial in order
    ]
    x = np.array([[-0.5 if place is None else place for place in row] for row in places])
    y = np.array([trial.score for trial in order])
    forest = RandomForestRegressor(100, random_state=0).fit(x, y)
    lost = np.maximum(permutation_importance(forest, x, y, n_repeats=10, random_state=0).importances_mean, 0)
    shares = lost / (lost.sum() or 1.0)
    rows = [(key, float(share)) for key, share in zip(space, shares, strict=True)]
    return Table(["key", "importance"], sorted(rows, key=lambda row: -row[1]), bars=["importance"])
