"""What a change of an image does to its pixels, so that a recipe can be refused where an annotation
does not survive it.

A transform or a test-time view states its effects; a kind of annotation (``cvflow.annotations``)
states which ones it survives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

B = TypeVar("B", bound=Callable[..., Any])


@dataclass(frozen=True)
class Effect:
    """One thing that can happen to an image.

    does: for a message, what the change does ("which ..."). instead: for a message, what can be
    used in its place.
    """

    does: str
    instead: str


IMAGES_ALONE = Effect("which changes the images alone", "changes that annotations follow")
HIDES_ONE_PLACE = Effect("which hides the same place in each image", "changes that make up no match")
LEAVES_ROWS = Effect("which takes the views off their rows", "changes that keep the rows of a pair")
SWAPS_SIDES = Effect(
    "of a stereo pair, whose mirrored views give the other view's disparity", "views that keep left and right"
)
MIRRORS = Effect("which mirrors left and right", "changes that keep left and right")


def states(*effects: Effect) -> Callable[[B], B]:
    """Mark a builder of transforms or views with its effects."""

    def mark(builder: B) -> B:
        builder.effects = frozenset(effects)  # type: ignore[attr-defined]
        return builder

    return mark


def effects_of(builder: Callable[..., Any]) -> frozenset[Effect]:
    """Return what a builder of transforms or views was marked with."""
    effects: frozenset[Effect] = getattr(builder, "effects", frozenset())
    return effects
