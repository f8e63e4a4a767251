"""What an algorithm sees: the trials suggested so far, and how those ended that it may know of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Params = dict[str, Any]
"""Dotted recipe key -> value, of the dimensions that are active."""


@dataclass(frozen=True)
class Tried:
    """known: whether its end may be known by now. score: higher is better; None where the trial failed or is not known."""

    params: Params
    known: bool = False
    score: float | None = None


class Algorithm(Protocol):
    """uses_results: False where suggestions need no results, so that no trial waits for another."""

    uses_results: bool

    @property
    def size(self) -> int | None:
        """How many suggestions there are; None = as many as are asked for."""
        ...

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        """The next trial's params and its tags (plain data), from all trials before it, in order."""
        ...
