"""Optimisers that evaluate the loss in a closure, and the recipe keys that they would ignore."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from cvflow.config import Train
from cvflow.errors import Fault
from cvflow.registry import get, names

FIX = "Type another train.optimizer, or the expected."


def needs_closure(builder: Callable[..., Any]) -> bool:
    """Whether the type that an optimiser's builder returns has ``needs_closure``.

    Of a builder without a return type this is only known once the optimiser is built.
    """
    returned = builder if isinstance(builder, type) else typing.get_type_hints(builder).get("return")
    return bool(getattr(returned, "needs_closure", False))


def plan_faults(train: Train) -> list[Fault]:
    """Return a fault for each key that an optimiser of the plan would ignore, as far as types tell."""
    chosen = {phase.optimizer.name for phase in train.plan()}
    registered = chosen & set(names("optimizer"))
    if any(needs_closure(get("optimizer", name)) for name in registered):
        return closure_faults(train)
    return []


def closure_faults(train: Train) -> list[Fault]:
    """Return a fault for each key that cannot be honoured with a closure.

    The optimiser evaluates it several times, and nothing can be scaled, clipped or skipped between.
    """
    faults: list[Fault] = []

    def refuse(key: str, value: object, expected: str) -> None:
        got = f"{value} with an optimiser that needs a closure"
        faults.append(Fault(f"train.{key}", got, expected, FIX))

    if train.precision == "fp16":
        refuse("precision", train.precision, "fp32 or bf16")
    if train.clip_norm is not None:
        refuse("clip_norm", train.clip_norm, "null")
    if train.not_finite == "skip":
        refuse("not_finite", train.not_finite, "stop")
    return faults
