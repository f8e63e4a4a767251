"""What a search algorithm sees: the trials suggested so far, and the results it may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Params = dict[str, Any]
"""Dotted recipe key -> value, of the dimensions that are active."""


@dataclass(frozen=True)
class Tried:
    """A trial as an algorithm sees it.

    visible: whether an algorithm may use its result by now. score: higher is better; None if the trial
    failed, or is not visible.
    """

    params: Params
    visible: bool = False
    score: float | None = None


class Algorithm(Protocol):
    """Suggests the settings of trials.

    uses_results: False if suggestions need no results, so that no trial waits for another.
    """

    uses_results: bool

    @property
    def size(self) -> int | None:
        """How many suggestions it can make; None = any number."""
        ...

    def suggest(self, tried: Sequence[Tried]) -> tuple[Params, dict[str, Any]]:
        """Return the next trial's params and its tags (plain data), given all trials before it."""
        ...
