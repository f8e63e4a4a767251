"""The algorithms as pure functions of what was tried: the same whatever ends first, and after a resume."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cvflow.engine.search.evolution import Evolution
from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Algorithm, Params, Tried
from cvflow.errors import RequestError
from cvflow.registry import Component, build
from cvflow.space import Dimension

LAG = 4
SPACE = {
    "lr": "loguniform(1e-4, 1)",
    "width": "int(1, 9)",
    "name": "choice(sgd, adam)",
    "momentum": {"uniform": [0, 1], "when": {"name": "sgd"}},
}
NUMBERS = {key: SPACE[key] for key in ("lr", "width")}


def make(algorithm: Any, written: dict[str, Any] | None = None, seed: int = 0) -> Algorithm:
    space = Space({key: Dimension.model_validate(value) for key, value in (written or SPACE).items()}, {})
    made: Algorithm = build("searcher", Component.model_validate(algorithm), space, seed)
    return made


def score(params: Params) -> float:
    """1.5 at best: lr 0.01, width 4, sgd, momentum 0.5."""
    kind = 0.5 - abs(params["momentum"] - 0.5) if params.get("name") == "sgd" else 0.0
    return 1 - abs(math.log10(params["lr"]) + 2) - abs(params["width"] - 4) / 4 + kind


def suggestions(
    algorithm: Any, count: int, resumed_at: int = -1, written: dict[str, Any] | None = None, seed: int = 0
) -> list[Params]:
    """A search in which every seventh trial fails."""
    made, params = make(algorithm, written, seed), list[Params]()
    for number in range(count):
        if number == resumed_at:
            made = make(algorithm, written, seed)
        known = number - LAG + 1 if made.uses_results else 0
        tried = [Tried(p, i < known, score(p) if i < known and i % 7 else None) for i, p in enumerate(params)]
        params.append(made.suggest(tried)[0])
    return params


@pytest.mark.parametrize(
    ("algorithm", "written"),
    [("random", SPACE), ("evolution", SPACE), ("tpe", SPACE), ({"name": "cmaes", "population": 5}, NUMBERS)],
)
def test_suggestions_follow_from_seed_and_results_alone(algorithm: Any, written: dict[str, Any]) -> None:
    whole = suggestions(algorithm, 30, written=written)
    assert suggestions(algorithm, 30, resumed_at=17, written=written) == whole
    assert suggestions(algorithm, 30, written=written, seed=1) != whole
    assert len({repr(params) for params in whole}) == 30


@pytest.mark.parametrize(("algorithm", "written"), [("evolution", SPACE), ("tpe", SPACE), ("cmaes", NUMBERS)])
def test_later_trials_are_better_than_chance(algorithm: str, written: dict[str, Any]) -> None:
    found = [score(params) for params in suggestions(algorithm, 70, written=written)]
    chance = [score(params) for params in suggestions("random", 70, written=written)]
    assert sum(found[-25:]) / 25 > sum(chance) / 70 + 0.4


def test_a_grid_ends() -> None:
    made = make({"name": "grid", "points": 2}, NUMBERS)
    assert made.size == 4
    assert suggestions({"name": "grid", "points": 2}, 4, written=NUMBERS) == [
        {"lr": x, "width": y} for x in (1e-4, 1.0) for y in (1, 9)
    ]


def test_a_grid_beyond_reason_is_refused_before_it_is_made() -> None:
    with pytest.raises(RequestError, match="a grid of 100000000 points, expected at most 10000"):
        make({"name": "grid", "points": 10}, {f"k{i}": "uniform(0, 1)" for i in range(8)})


def test_cmaes_takes_numbers_alone() -> None:
    with pytest.raises(RequestError) as caught:
        make("cmaes")
    assert [fault.where for fault in caught.value.faults] == ["search.space.name", "search.space.momentum"]


def evolution(**options: Any) -> Evolution:
    made = make({"name": "evolution", "population": 4, "tournament": 30, **options})
    assert isinstance(made, Evolution)
    return made


def tried(*scores: float | None) -> list[Tried]:
    genes = {"name": "sgd", "momentum": 0.5}
    return [
        Tried({**genes, "lr": 0.01 * (i + 1), "width": 1 + i % 9}, True, value)
        for i, value in enumerate(scores)
    ]


def test_the_first_population_is_drawn_and_what_failed_has_no_child() -> None:
    made = evolution()
    assert made.suggest(tried(1.0, 2.0))[1] == {"generation": 0}
    params, tags = made.suggest(tried(None, None, None, None))
    assert tags == {"generation": 1}
    # drawn anew: there is nobody to descend from
    assert params.keys() >= {"lr", "width", "name"}


def test_a_child_differs_from_the_winner_in_one_gene() -> None:
    trials = tried(0.1, 0.9, None, 0.2)
    child, _ = evolution(crossover=0.0).suggest(trials)
    changed = {key for key in trials[1].params | child if trials[1].params.get(key) != child.get(key)}
    assert len(changed) == 1 or changed == {
        "name",
        "momentum",
    }  # with the optimiser goes what exists with it alone


def test_the_oldest_dies_however_good() -> None:
    trials = tried(9.0, 0.1, 0.8, 0.2, 0.3)  # four live: the first is dead
    child, _ = evolution(crossover=0.0).suggest(trials)
    winner = trials[2].params
    assert sum(child.get(key) == value for key, value in winner.items()) >= 2
    assert (
        sum(child.get(key) == value for key, value in trials[0].params.items() if key in ("lr", "width")) == 0
    )


def test_a_crossover_takes_genes_of_two() -> None:
    trials = tried(0.5, 0.5, 0.5, 0.5)
    rates = {trial.params["width"]: trial.params["lr"] for trial in trials}
    children = [evolution_child(seed, trials) for seed in range(20)]
    mixed = [child for child in children if child["width"] in rates and child["lr"] in rates.values()]
    assert any(rates[child["width"]] != child["lr"] for child in mixed)


def evolution_child(seed: int, trials: list[Tried]) -> Params:
    made = make({"name": "evolution", "population": 4, "tournament": 1, "crossover": 1.0}, seed=seed)
    return made.suggest(trials)[0]
