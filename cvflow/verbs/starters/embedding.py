"""A new recipe for vectors that tell identities apart."""

from __future__ import annotations

from cvflow.registry import register
from cvflow.verbs.starters.base import Seen, Starter, large

IMAGES = 4
"""Images of each identity in a batch."""


@register("starter", "embedding")
def embedding(seen: Seen) -> Starter:
    """A batch holds at most half of the identities: the others may be for val and test."""
    identities = min(8, max(2, seen.classes // 2))
    return {
        "model": {"name": "embedder", "backbone": "conv4" if seen.small else large(), "dim": 64},
        "train": {
            "batch_size": IMAGES * identities,
            "sampler": {"name": "identities", "images": IMAGES},
            "optimizer": {"name": "adamw", "lr": 0.002},
            "augment": [seen.shift()],
        },
    }
