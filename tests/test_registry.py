"""Components: registration, and the check of options against the builder's signature."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from cvflow import registry
from cvflow.errors import Fault, RequestError
from cvflow.registry import Component, Kind, build, check, components_in, get, names, register


def plain(
    given: int, *, rate: Annotated[float, Field(gt=0)] = 0.5, mode: Literal["a", "b"] = "a"
) -> tuple[Any, ...]:
    """Two checked options."""
    return given, rate, mode


def needy(*, must: int) -> int:
    return must


PLAIN = Component(name="test_plain")


def nested(
    *,
    inner: Annotated[Component, Kind("schedule")] = PLAIN,
    many: tuple[Annotated[Component, Kind("schedule")], ...] = (),
) -> tuple[Component, ...]:
    return inner, *many


class Built:
    def __init__(self, given: str, *, size: tuple[int, int] = (2, 3)) -> None:
        self.given, self.size = given, size


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    """The builders above as schedules, during a test."""
    names("schedule")
    kept = dict(registry._builders["schedule"])
    builders: dict[str, Callable[..., Any]] = {
        "test_plain": plain,
        "test_needy": needy,
        "test_nested": nested,
        "test_built": Built,
    }
    for name, builder in builders.items():
        register("schedule", name)(builder)
    yield
    registry._builders["schedule"] = kept


def faults(**component: Any) -> list[Fault]:
    return check("schedule", Component.model_validate(component), "train.schedule")[1]


def test_defaults_are_filled_in() -> None:
    data, found = check("schedule", Component.model_validate("test_plain"), "train.schedule")
    assert (data, found) == ({"name": "test_plain", "rate": 0.5, "mode": "a"}, [])


def test_build_gives_positional_arguments_and_options() -> None:
    assert build("schedule", Component.model_validate({"name": "test_plain", "rate": 2}), 7) == (7, 2.0, "a")
    assert build("schedule", Component.model_validate({"name": "test_built", "size": [4, 5]}), "x").size == (
        4,
        5,
    )


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RequestError) as caught:
        get("schedule", "test_plian", "recipe.yaml:3 train.schedule.name")
    fault = caught.value.faults[0]
    assert fault.where == "recipe.yaml:3 train.schedule.name"
    assert fault.got == "'test_plian'"
    assert "cosine" in fault.expected
    assert fault.fix == "Did you mean 'test_plain'?"


def test_an_unknown_option_names_the_known_ones_and_the_closest() -> None:
    assert faults(name="test_plain", rat=1) == [
        Fault("train.schedule.rat", "the unknown key 'rat'", "one of mode, rate", "Did you mean 'rate'?")
    ]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("rate", "fast", "a valid number"),
        ("rate", -1, "greater than 0"),
        ("mode", "c", "'a' or 'b'"),
        ("rate", None, "a valid number"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(option: str, value: Any, expected: str) -> None:
    (fault,) = faults(name="test_plain", **{option: value})
    assert fault.where == f"train.schedule.{option}"
    assert fault.got == repr(value)
    assert expected in fault.expected


def test_a_missing_option_says_what_to_add() -> None:
    assert faults(name="test_needy") == [
        Fault("train.schedule.must", "nothing", "a value", "Add 'train.schedule.must: ...'.")
    ]


def test_all_faults_of_a_component_come_together() -> None:
    assert {fault.where for fault in faults(name="test_plain", rate="x", mode="z", more=1)} == {
        "train.schedule.rate",
        "train.schedule.mode",
        "train.schedule.more",
    }


def test_an_option_given_positionally_by_cvflow_is_not_the_recipe_s() -> None:
    assert [fault.where for fault in faults(name="test_plain", given=1)] == ["train.schedule.given"]


def test_components_within_options_are_checked_and_filled() -> None:
    component = Component.model_validate(
        {"name": "test_nested", "inner": {"name": "test_plain", "rate": 3}, "many": ["test_plain", "cosine"]}
    )
    data, found = check("schedule", component, "train.schedule")
    assert found == []
    assert data["inner"] == {"name": "test_plain", "rate": 3.0, "mode": "a"}
    assert data["many"] == [
        {"name": "test_plain", "rate": 0.5, "mode": "a"},
        {"name": "cosine", "final": 0.0},
    ]


def test_faults_within_nested_components_carry_their_whole_path() -> None:
    found = faults(
        name="test_nested",
        inner={"name": "test_plain", "rate": 0},
        many=["test_plain", "cosin", {"name": "cosine", "fin": 1}],
    )
    assert [fault.where for fault in found] == [
        "train.schedule.inner.rate",
        "train.schedule.many.1.name",
        "train.schedule.many.2.fin",
    ]
    assert found[1].fix == "Did you mean 'cosine'?"


def test_a_second_builder_of_the_same_name_is_refused() -> None:
    register("schedule", "test_plain")(plain)  # the same again is harmless
    with pytest.raises(ValueError, match="already registered by .*plain"):
        register("schedule", "test_plain")(needy)


def test_components_are_found_in_fields_and_lists() -> None:
    class Options(BaseModel):
        one: Annotated[Component, Kind("optimizer")]
        many: tuple[Annotated[Component, Kind("transform")], ...] = ()
        other: int = 0

    options = Options.model_validate({"one": "sgd", "many": ["rotate", "random_crop"]})
    assert [(path, kind, c.name) for path, kind, c in components_in(options)] == [
        ("one", "optimizer", "sgd"),
        ("many.0", "transform", "rotate"),
        ("many.1", "transform", "random_crop"),
    ]


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_every_shipped_component_has_a_docstring_and_checked_options(kind: str) -> None:
    for name in names(kind):
        builder = get(kind, name)
        if builder.__module__ == __name__:
            continue
        assert builder.__doc__, f"{kind} {name}"
        options = registry.options_model(builder)
        assert [key for key, field in options.model_fields.items() if field.annotation is Any] == [], (
            f"{kind} {name}: untyped options"
        )


def test_a_request_error_crosses_processes_whole() -> None:
    error = RequestError(Fault("a", "b", "c", "d"), Fault("e", "f", "g"))
    again = pickle.loads(pickle.dumps(error))
    assert again.faults == error.faults
    assert str(again) == "a: got b, expected c. d\ne: got f, expected g."


def test_an_unknown_name_is_answered_with_all_that_there_are() -> None:
    with pytest.raises(RequestError, match="expected an optimizer: one of adagrad"):
        get("optimizer", "sdg")
    with pytest.raises(RequestError) as caught:
        get("transform", "zom")
    assert all(name in str(caught.value) for name in names("transform"))


def test_options_that_were_not_checked_are_named_when_built() -> None:
    with pytest.raises(RequestError, match="optimizer.lr: got -1, expected greater than 0"):
        build("optimizer", Component(name="sgd", lr=-1), [])
