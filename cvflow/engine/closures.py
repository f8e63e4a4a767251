"""Optimisers that evaluate the loss themselves, in a closure: what of the recipe they would pass over."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from cvflow.config import Train
from cvflow.errors import Fault
from cvflow.registry import get, names

FIRST_ORDER = "Type another train.optimizer, or the expected."


def needs_closure(builder: Callable[..., Any]) -> bool:
    """Whether what an optimiser's builder says it gives has ``needs_closure``. One that says no type is only known when built."""
    made = builder if isinstance(builder, type) else typing.get_type_hints(builder).get("return")
    return bool(getattr(made, "needs_closure", False))


def plan_faults(train: Train) -> list[Fault]:
    """The keys that a phase's optimiser would pass over, where its builder tells."""
    chosen = {phase.optimizer.name for phase in train.plan()} & set(names("optimizer"))
    return passed_over(train) if any(needs_closure(get("optimizer", name)) for name in chosen) else []


def passed_over(train: Train) -> list[Fault]:
    """The keys that cannot hold with a closure: between its evaluations nothing can be scaled, clipped or left out."""
    with_one = "with an optimiser that needs a closure"
    wrong = [
        ("precision", train.precision, "fp32 or bf16", train.precision == "fp16"),
        ("clip_norm", train.clip_norm, "null", train.clip_norm is not None),
        ("not_finite", train.not_finite, "stop", train.not_finite == "skip"),
    ]
    return [
        Fault(f"train.{key}", f"{value} {with_one}", right, FIRST_ORDER)
        for key, value, right, there in wrong
        if there
    ]
