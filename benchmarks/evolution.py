"""Evolution against random search on the table of trained digit settings: the best rank within 60
trials, seeds 0 to 19.
"""

from __future__ import annotations

import json
import statistics
from typing import Any

from digits_table import SPACE, main, read_table
from measure import table, write_results

from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Params, Tried
from cvflow.registry import Component, build
from cvflow.space import Dimension

BUDGET, SEEDS, LAG = 60, range(20), 4
ALGORITHMS = ("random", "evolution", "tpe")


def best_rank(
    algorithm: str, seed: int, losses: dict[tuple[Any, ...], float], ranks: dict[tuple[Any, ...], int]
) -> int:
    """Search the table as ``cvflow tune`` would with four trials at once; the rank of the best
    setting found, 1 = best of all.
    """
    space = Space({key: Dimension(kind="choice", values=values) for key, values in SPACE.items()}, {})
    made = build("searcher", Component(name=algorithm), space, seed)
    found: list[Params] = []
    for number in range(BUDGET):
        known = number - LAG + 1 if made.uses_results else 0
        tried = [
            Tried(params, i < known, -losses[setting(params)] if i < known else None)
            for i, params in enumerate(found)
        ]
        found.append(made.suggest(tried)[0])
    return min(ranks[setting(params)] for params in found)


def setting(params: Params) -> tuple[Any, ...]:
    return tuple(params[key] for key in SPACE)


def compare() -> None:
    """Print and keep the table of ranks."""
    losses = read_table()
    ranks = {values: rank for rank, values in enumerate(sorted(losses, key=lambda values: losses[values]), 1)}
    found = {name: [best_rank(name, seed, losses, ranks) for seed in SEEDS] for name in ALGORITHMS}
    medians = {name: statistics.median(values) for name, values in found.items()}
    rows = [
        [name, medians[name], statistics.mean(values), max(values), json.dumps(values)]
        for name, values in found.items()
    ]
    text = (
        f"{len(losses)} settings of {len(SPACE)} keys, {BUDGET} "
        f"trials, {LAG} at once. Rank 1 is the best of all settings."
    )
    ratio = (
        "Median best rank, random / evolution: "
        f"{medians['random'] / medians['evolution']:.2f} (at least 2 is asked for)."
    )
    columns = ["algorithm", "median best rank", "mean", "worst", "seeds 0 to 19"]
    write_results("evolution", "Evolution against random search", text, table(columns, rows), ratio)


if __name__ == "__main__":
    main()
    compare()
