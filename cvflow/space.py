"""A search as a recipe writes it: the keys, the values that each may take, and how they are tried."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from cvflow.registry import Component, Kind
from cvflow.section import Section

RANGES = ("uniform", "loguniform", "int", "logint")
KINDS = ("choice", *RANGES)
FORMS = "choice(a, b), uniform(0, 1), loguniform(1e-4, 1e-1), int(1, 9), logint(8, 512) or a list"


class Dimension(BaseModel):
    """``loguniform(1e-4, 1e-1)``, a list, or ``{choice: [a, b], when: {key: value}}``; ``grid(a,
    b)`` is a choice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str = Field(description="How values lie between the ends, or choice.")
    values: tuple[Any, ...] = Field(description="The choices, or the least and the greatest value.")
    when: dict[str, Any] = Field(
        {}, description="Only where these keys have these values (or one of a list)."
    )

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, data: Any) -> Any:
        if isinstance(data, Dimension) or (isinstance(data, dict) and "kind" in data):
            return data
        written = dict(data) if isinstance(data, dict) else {}
        when = written.pop("when", {})
        if len(written) == 1:
            ((kind, values),) = written.items()
        elif isinstance(data, str) and (call := re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", data, re.DOTALL)):
            kind, values = call[1], _items(call[2])
        elif isinstance(data, (list, tuple)):
            kind, values = "choice", list(data)
        else:
            raise ValueError(FORMS)
        if not isinstance(values, (list, tuple)):
            raise ValueError(f"a list of values for {kind}")
        return {
            "kind": "choice" if kind == "grid" else kind,
            "values": [_number(value) for value in values],
            "when": when,
        }

    @model_validator(mode="after")
    def _is_possible(self) -> Dimension:
        if self.kind not in KINDS:
            raise ValueError(FORMS)
        if self.kind == "choice":
            if not self.values:
                raise ValueError("at least one value to choose from")
            return self
        is_integer = self.kind.endswith("int")
        numbers = all(
            isinstance(v, int if is_integer else (int, float)) and not isinstance(v, bool)
            for v in self.values
        )
        if len(self.values) != 2 or not numbers or not self.values[0] < self.values[1]:
            raise ValueError(f"two {'whole ' * is_integer}numbers, the smaller first")
        if self.kind.startswith("log") and self.values[0] <= 0:
            raise ValueError("a least value above 0 for a logarithmic range")
        return self

    @model_serializer
    def _written(self) -> dict[str, Any]:
        return {self.kind: list(self.values), **({"when": self.when} if self.when else {})}

    @property
    def log(self) -> bool:
        return self.kind.startswith("log")

    @property
    def whole(self) -> bool:
        return self.kind.endswith("int")

    def at(self, unit: float) -> Any:
        """The value at a place in [0, 1): equal stretches are equally likely."""
        if self.kind == "choice":
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        low, high = self._ends()
        value = low + unit * (high - low)
        return self.clip(math.exp(value) if self.log else value)

    def place(self, value: Any) -> float:
        """The middle of the stretch of [0, 1] where ``at`` gives the value."""
        if self.kind == "choice":
            return (self.values.index(value) + 0.5) / len(self.values)
        low, high = self._ends()
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def grid(self, points: int) -> list[Any]:
        """All choices; of a range so many values, both ends among them."""
        if self.kind == "choice":
            return list(self.values)
        low, high = self._ends()
        positions = [low + (high - low) * i / max(1, points - 1) for i in range(points)]
        inner = [self.clip(math.exp(v) if self.log else v) for v in positions[1:-1]]
        return list(dict.fromkeys([self.values[0], *inner, self.values[1]]))

    def clip(self, value: Any) -> Any:
        """The nearest value of a range; choices are left as they are."""
        if self.kind == "choice":
            return value
        least, greatest = self.values
        return min(max(round(value) if self.whole else value, least), greatest)

    def _ends(self) -> tuple[float, float]:
        """Of the scale that ``at`` is linear on; a whole number owns the stretch half around it."""
        low, high = (v + half if self.whole else v for v, half in zip(self.values, (-0.5, 0.5), strict=True))
        return (math.log(low), math.log(high)) if self.log else (low, high)


class Search(Section):
    """How `cvflow tune` looks for better settings than the recipe's own."""

    space: dict[str, Dimension] = Field(
        {},
        description="Key of the recipe -> its values, as in "
        "`train.optimizer.lr: loguniform(1e-4, 1e-1)` or a list.",
    )
    algorithm: Annotated[Component, Kind("searcher")] = Field(
        Component(name="random"), description="Which settings are tried."
    )
    scheduler: Annotated[Component, Kind("scheduler")] = Field(
        Component(name="none"), description="Which trials end early."
    )
    metric: str | None = Field(
        None, description="A metric of val, a loss too; the task's objective by default."
    )
    samples: int | None = Field(None, gt=0, description="Trials in all; none = 20, or every point of a grid.")
    concurrency: int = Field(
        4, gt=0, description="Trials at once, at most; also how many results a suggestion does not wait for."
    )
    cpus: float = Field(1.0, gt=0, description="CPUs a trial; a trial on several workers takes theirs.")
    gpus: float = Field(
        1.0, ge=0, description="GPUs a trial, where the recipe's device is one; below 1, trials share it."
    )
    max_hours: float | None = Field(
        None, gt=0, description="No trial begins after so many hours of the command."
    )
    max_epochs: int | None = Field(
        None, gt=0, description="No trial begins after so many epochs over all trials."
    )
    seed: int = Field(0, description="The same seed, the same suggestions, whichever trial ends first.")

    @model_validator(mode="before")
    @classmethod
    def _dotted_space(cls, data: Any) -> Any:
        """The space's keys may be nested, as the recipe's own are."""
        nested = isinstance(data, dict) and isinstance(data.get("space"), dict)
        return {**data, "space": flatten(data["space"])} if nested else data


def flatten(space: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """dotted key -> how its values are written; mappings are entered down to those that name a kind."""
    flat: dict[str, Any] = {}
    for key, value in space.items():
        if isinstance(value, Mapping) and value and not {*KINDS, "grid", "kind"} & value.keys():
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """key -> its last part, or its last two where that would be two of a kind."""
    last = {key: key.rpartition(".")[2] for key in keys}
    names = list(last.values())
    return {
        key: ".".join(key.split(".")[-2:]) if names.count(name) > 1 else name for key, name in last.items()
    }


def is_written(value: Any) -> bool:
    """Whether a value of the command line is a dimension, as in ``train.epochs=int(1,9)``."""
    return isinstance(value, str) and re.match(rf"\s*({'|'.join((*KINDS, 'grid'))})\s*\(", value) is not None


def _items(text: str) -> list[Any]:
    try:
        items = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError as error:
        raise ValueError(FORMS) from error
    return list(items)


def _number(value: Any) -> Any:
    """YAML takes 1e-3 for text."""
    try:
        return float(value) if isinstance(value, str) and re.match(r"[-+.\d]", value) else value
    except ValueError:
        return value
