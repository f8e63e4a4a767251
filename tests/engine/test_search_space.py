"""Dimensions as recipes write them, and spaces with conditions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cvflow.engine.search.space import Space
from cvflow.errors import RequestError
from cvflow.space import Dimension, Search, flatten, is_written


def dimension(written: Any) -> Dimension:
    return Dimension.model_validate(written)


@pytest.mark.parametrize(
    ("written", "kind", "values"),
    [
        ("loguniform(1e-4, 1)", "loguniform", (1e-4, 1)),
        ("choice(lenet, {name: mlp, hidden: [8]})", "choice", ("lenet", {"name": "mlp", "hidden": [8]})),
        ("grid(1, 2)", "choice", (1, 2)),
        ([1, "1e-3"], "choice", (1, 1e-3)),
        ({"int": [1, 9]}, "int", (1, 9)),
        ({"kind": "uniform", "values": [0, 1]}, "uniform", (0, 1)),
    ],
)
def test_the_forms_of_a_dimension(written: Any, kind: str, values: tuple[Any, ...]) -> None:
    made = dimension(written)
    assert (made.kind, made.values) == (kind, values)
    # as the resolved recipe keeps it
    assert dimension(made.model_dump(mode="json")) == made


@pytest.mark.parametrize(
    "written",
    [
        "loguniform(0, 1)",
        "uniform(1, 1)",
        "uniform(1)",
        "int(0.5, 3)",
        "choice()",
        "normal(0, 1)",
        3,
        [],
        "choice({a)",
        {"int": 3},
        "uniform(a, b)",
    ],
)
def test_what_is_no_dimension_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        dimension(written)


def test_a_space_may_be_nested_or_dotted() -> None:
    inner = {"uniform": [0, 1], "when": {"a.b": "x"}}
    assert flatten({"a": {"b": "choice(x,y)", "c": inner}, "d.e": [1]}) == {
        "a.b": "choice(x,y)",
        "a.c": inner,
        "d.e": [1],
    }
    search = Search.model_validate({"space": {"a": {"b": "choice(x,y)"}}})
    assert list(search.space) == ["a.b"]


@pytest.mark.parametrize(
    ("value", "so"),
    [("int(1,9)", True), (" grid(1)", True), ("integer(1)", False), ("sgd", False), ([1], False)],
)
def test_what_the_command_line_takes_for_a_dimension(value: Any, so: bool) -> None:
    assert is_written(value) is so


@pytest.mark.parametrize(
    "written", ["uniform(-2, 3)", "loguniform(1e-4, 10)", "int(1, 4)", "logint(8, 512)", "choice(a, b, c)"]
)
def test_places_and_values_belong_together(written: str) -> None:
    made = dimension(written)
    for unit in np.linspace(0, 1, 41):
        value = made.at(float(unit))
        again = made.at(made.place(value))
        assert again == value if made.kind == "choice" else again == pytest.approx(value)
        assert made.clip(value) == value
    assert len(made.grid(3)) == 3


def test_whole_numbers_are_equally_likely() -> None:
    made, rng = dimension("int(1, 4)"), np.random.default_rng(0)
    counts = np.bincount([made.at(rng.random()) for _ in range(4000)], minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 900


def space(base: dict[str, Any] | None = None, **written: Any) -> Space:
    return Space({key: dimension(value) for key, value in written.items()}, base or {})


def test_a_conditional_dimension_is_there_only_where_its_condition_holds() -> None:
    made = space(
        momentum={"uniform": [0, 1], "when": {"name": "sgd"}},
        name="choice(sgd, adam)",
        beta={"choice": [0.9], "when": {"name": ["adam"]}},
    )
    rng = np.random.default_rng(0)
    drawn = [made.draw(rng) for _ in range(60)]
    assert {frozenset(params) for params in drawn} == {
        frozenset({"name", "momentum"}),
        frozenset({"name", "beta"}),
    }
    assert all(("momentum" in params) == (params["name"] == "sgd") for params in drawn)
    assert made.draw(rng, keep={"name": "adam", "momentum": 0.5}) == {"name": "adam", "beta": 0.9}


def test_a_condition_may_read_the_recipe() -> None:
    assert space({"schedule": "cosine"}, a={"choice": [1], "when": {"schedule": "step"}}).grid(2) == [{}]
    assert space({"schedule": "step"}, a={"choice": [1], "when": {"schedule": "step"}}).grid(2) == [{"a": 1}]


def test_conditions_that_go_round_in_a_circle_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        space(a={"choice": [1], "when": {"b": 1}}, b={"choice": [1], "when": {"a": 1}})
    assert [fault.where for fault in caught.value.faults] == ["search.space.a.when", "search.space.b.when"]


def test_a_grid_holds_every_combination_once() -> None:
    made = space(
        name="choice(sgd, adam)",
        lr="loguniform(0.01, 1)",
        momentum={"choice": [0.0, 0.9], "when": {"name": "sgd"}},
    )
    points = made.grid(3)
    assert len(points) == 3 * 2 + 3
    assert sorted({round(math.log10(p["lr"])) for p in points}) == [-2, -1, 0]
    assert len({repr(p) for p in points}) == len(points)
