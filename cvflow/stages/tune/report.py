"""The page of a search: its course, the ranking, and the importance of each key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from cvflow.draw import Block, Curves, Numbers, Section, Short, Table, page
from cvflow.draw.parallel import Axis, Parallel
from cvflow.engine.search.conductor import Conductor, ranked
from cvflow.engine.search.journal import Trial
from cvflow.space import Dimension, short_names

LEAST = 8
"""With fewer trials importance would be noise."""


def search_page(name: str, conductor: Conductor) -> str:
    """Return the whole page as HTML."""
    search = conductor.search
    subtitle = f"{search.algorithm.name}, scheduler {search.scheduler.name}, seed {search.seed}"
    return page(f"Search {name}", sections(conductor), subtitle)


def sections(conductor: Conductor) -> list[Section]:
    """Return the sections for which there are trials enough."""
    order = ranked(conductor.trials, conductor.objective)
    best: list[Block] = [best_numbers(conductor, order)]
    if not order:
        return [Section("Best", best), *failures(conductor)]
    best.append(ranking(conductor, order))
    result = [
        Section("Best", best),
        Section("Course", [course(conductor)]),
        Section("Settings", [parallel(conductor, order)], "A line a trial; the better, the stronger."),
    ]
    if len(order) >= LEAST and len(conductor.search.space) > 1:
        note = (
            "How much a forest fitted to the trials loses when a key's values are shuffled, "
            "as a share of all keys."
        )
        result.append(Section("Importance", [importance(conductor, order)], note))
    return [*result, *failures(conductor)]


def failures(conductor: Conductor) -> list[Section]:
    """Return a section with the reasons of failed trials, if there are any."""
    rows = []
    for trial in conductor.trials:
        if trial.state == "failed":
            rows.append([trial.number, trial.reason])
    if not rows:
        return []
    return [Section("Failed", [Table(["trial", "reason"], rows)])]


def best_numbers(conductor: Conductor, order: Sequence[Trial]) -> Numbers:
    """Return the best score and how the trials ended. order: the scored trials, best first."""
    ended = [trial for trial in conductor.trials if trial.ended]
    states = Counter(trial.state for trial in ended)
    numbers = {
        f"best {conductor.score_name}": order[0].score if order else None,
        "trials": len(ended),
        "epochs": sum(trial.epochs for trial in ended),
        "stopped early": states["stopped"],
        "failed": states["failed"],
    }
    return Numbers(numbers)


def ranking(conductor: Conductor, order: Sequence[Trial]) -> Table:
    """Return a table of the scored trials, best first."""
    keys = list(conductor.search.space)
    rows = []
    for trial in order:
        settings = [_cell(trial.params.get(key)) for key in keys]
        seconds = round(trial.seconds, 1)
        rows.append([trial.number, trial.score, trial.epochs, seconds, trial.state, *settings])
    columns = ["trial", conductor.score_name, "epochs", "seconds", "state", *keys]
    return Table(columns, rows, "Ranking")


def _cell(value: Any) -> Any:
    """Return a setting as the table shows it, with the exact number on hover."""
    if isinstance(value, float):
        # four digits: with three decimals many learning rates would look the same
        return Short(f"{value:.4g}", repr(value))
    if value is None or isinstance(value, (int, str)):
        return value
    return str(value)


def course(conductor: Conductor) -> Curves:
    """Return a figure of each trial's score, and of the best so far."""
    points: list[tuple[float, float | None]] = []
    bests: list[tuple[float, float | None]] = []
    best: float | None = None
    for trial in conductor.trials:
        if not trial.ended or trial.score is None:
            continue
        if best is None or conductor.objective.better(trial.score, best):
            best = trial.score
        points.append((trial.number, trial.score))
        bests.append((trial.number, best))
    series = {"trial": points, "best so far": bests}
    return Curves("Course", series, x_label="trial", y_label=conductor.score_name)


def parallel(conductor: Conductor, order: Sequence[Trial]) -> Parallel:
    """Return a figure with an axis for each key, and the score at the right."""
    space = conductor.search.space
    names = short_names(space)
    axes = [Axis(names[key], *_ends(dimension)) for key, dimension in space.items()]
    scores = [trial.score for trial in order if trial.score is not None]
    low, high = min(scores), max(scores)
    axes.append(Axis(conductor.score_name, f"{low:.4g}", f"{high:.4g}"))
    lines = []
    for rank, (trial, score) in enumerate(zip(order, scores, strict=True)):
        places = places_of(conductor, trial)
        places.append((score - low) / (high - low) if high > low else 0.5)
        strength = 1 - rank / len(order)
        lines.append((f"trial {trial.number}: {score:.4g}", places, strength))
    return Parallel(axes, lines)


def _ends(dimension: Dimension) -> tuple[str, str]:
    """Return the first and the last value as an axis shows them."""
    # of a choice all values have a place on the axis, and these two are written
    first, last = dimension.values[0], dimension.values[-1]
    return _end(first), _end(last)


def _end(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def places_of(conductor: Conductor, trial: Trial) -> list[float | None]:
    """Return where the trial's settings lie along each dimension of the space."""
    places = []
    for key, dimension in conductor.search.space.items():
        places.append(place_of(dimension, trial.params.get(key)))
    return places


def place_of(dimension: Dimension, value: Any) -> float | None:
    """Return where a value lies along the dimension, 0 to 1; None if it was not active."""
    if value is None:
        return None
    if dimension.kind == "choice" and value not in dimension.values:
        return None
    return dimension.place(value)


def importance(conductor: Conductor, order: Sequence[Trial]) -> Table:
    """Return a table of key -> share of the importance, greatest first."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    rows = []
    for trial in order:
        # a value that was not active counts as one below all others
        rows.append([-0.5 if place is None else place for place in places_of(conductor, trial)])
    x = np.array(rows)
    y = np.array([trial.score for trial in order])
    forest = RandomForestRegressor(100, random_state=0).fit(x, y)
    result = permutation_importance(forest, x, y, n_repeats=10, random_state=0)
    losses = np.maximum(result.importances_mean, 0)
    shares = losses / (losses.sum() or 1.0)
    table = list(zip(conductor.search.space, shares.tolist(), strict=True))
    table.sort(key=lambda row: -row[1])
    return Table(["key", "importance"], table, bars=["importance"])
