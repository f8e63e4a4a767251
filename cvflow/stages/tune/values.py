"""Whether the recipe takes the values of a search's dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.errors import Fault
from cvflow.recipe.layers import leaves
from cvflow.space import Dimension
from cvflow.stages.tune.space import fulfilled, space_key
from cvflow.stages.tune.trial_recipe import faults_with

INSIDE = 0.382
"""A place within a range where the value is a whole number only if all are.

A key that takes whole numbers takes the ends of uniform(1, 9) too, but not what lies between.
"""


def value_faults(base: Mapping[str, Any], key: str, dimension: Dimension) -> list[Fault]:
    """Try each choice, or the ends of a range and a value between them; return each fault once.

    base: the resolved recipe. The keys of the dimension's condition get values that fulfil it.
    """
    faults: dict[str, Fault] = {}
    for value in (*dimension.values, dimension.at(INSIDE)):
        params = {**fulfilled(dimension), key: value}
        for fault in faults_with(base, params):
            faults.setdefault(str(fault), _in_space(fault, base, key, dimension))
    return list(faults.values())


def _in_space(fault: Fault, base: Mapping[str, Any], key: str, dimension: Dimension) -> Fault:
    """Return the recipe's fault as one of the dimension, with what to type."""
    where = space_key(key)
    below = fault.where.removeprefix(key).strip(".")
    if below:
        where = f"{where} {below}"
    fix = fault.fix
    if not fix and below in ("", key):
        fix = _elsewhere(base, key)
    if not fix:
        fix = _whole_numbers(dimension)
    return Fault(where, fault.got, fault.expected, fix)


def _elsewhere(base: Mapping[str, Any], key: str) -> str:
    """Return a hint if a key of the same name stands elsewhere in the section, or nothing."""
    section, name = key.partition(".")[0], key.rpartition(".")[2]
    for other, _ in leaves(base.get(section), f"{section}."):
        if other.endswith(f".{name}") and other != key:
            return f"Did you mean '{other}'?"
    return ""


def _whole_numbers(dimension: Dimension) -> str:
    """Return a hint if a range has whole ends but other values between, or nothing."""
    low, high = dimension.values[0], dimension.values[-1]
    whole_ends = isinstance(low, int) and isinstance(high, int)
    if not dimension.kind.endswith("uniform") or not whole_ends:
        return ""
    kind = "logint" if dimension.log else "int"
    return f"Type {kind}({low},{high}) for whole numbers."
