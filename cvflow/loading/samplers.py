"""The global order of an epoch: rows of the train split, some of them more than once or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from pydantic import Field

from cvflow.errors import Fault, RequestError
from cvflow.loading.loader import seed_of
from cvflow.registry import register


class Columns(Protocol):
    """The rows of a split, by their annotations."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> list[Any]: ...


class Sampler(Protocol):
    """Row indices of one epoch in order: a function of (rows, seed, epoch) and nothing else."""

    def order(self, rows: Columns, seed: int, epoch: int) -> Sequence[int]: ...


@register("sampler", "shuffle")
class Shuffle:
    """Every row once, in an order seeded by (seed, epoch)."""

    def __init__(self, stratify: str | None, batch_size: int) -> None:
        pass

    def order(self, rows: Columns, seed: int, epoch: int) -> Sequence[int]:
        return torch.randperm(len(rows), generator=_generator(seed, epoch)).tolist()


@register("sampler", "balanced")
class Balanced:
    """Every class equally often, an epoch as long as the split: rows of rare classes come again, of
    frequent ones not each epoch.
    """

    def __init__(self, stratify: str | None, batch_size: int) -> None:
        self.column = required(stratify, "train.sampler", "balanced")

    def order(self, rows: Columns, seed: int, epoch: int) -> Sequence[int]:
        generator = _generator(seed, epoch)
        classes, labels = np.unique(rows.column(self.column), return_inverse=True)
        least, more = divmod(len(rows), len(classes))
        with_more = set(torch.randperm(len(classes), generator=generator)[:more].tolist())
        drawn = [
            _drawn(np.flatnonzero(labels == c), least + (c in with_more), generator)
            for c in range(len(classes))
        ]
        together = torch.cat(drawn)
        return together[torch.randperm(len(together), generator=generator)].tolist()


def _drawn(
    members: np.ndarray[Any, np.dtype[np.intp]], count: int, generator: torch.Generator
) -> torch.Tensor:
    """``count`` of the members: all of them as often as it goes, then some."""
    rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-count // len(members)))]
    return (
        torch.from_numpy(members)[torch.cat(rounds)[:count]] if rounds else torch.empty(0, dtype=torch.int64)
    )


@register("sampler", "identities")
class Identities:
    """P x K: each batch holds P identities (or classes) with K images of each, one after the other;
    an epoch is as long as the split.

    images: K; P = train.batch_size / K. Identities come in turns, and so do the images of each; one
    with fewer than K gives some again.
    """

    def __init__(
        self, stratify: str | None, batch_size: int, *, images: Annotated[int, Field(ge=2)] = 4
    ) -> None:
        self.column, self.images = required(stratify, "train.sampler", "identities"), images
        self.identities, rest = divmod(batch_size, images)
        if rest or self.identities < 2:
            fix = f"Type train.batch_size={images * max(2, self.identities)}."
            expected = f"a multiple of train.sampler.images, {images}, that holds two identities or more"
            raise RequestError(Fault("train.batch_size", str(batch_size), expected, fix))

    def order(self, rows: Columns, seed: int, epoch: int) -> Sequence[int]:
        generator = _generator(seed, epoch)
        names, labels = np.unique(rows.column(self.column), return_inverse=True)
        if len(names) < self.identities:
            got = (
                f"{self.identities * self.images} for {len(names)} "
                f"identities in train with {self.images} images each"
            )
            fix = f"Type train.batch_size={self.images * len(names)}, or a greater train.sampler.images."
            raise RequestError(Fault("train.batch_size", got, f"at most {self.images * len(names)}", fix))
        decks = [Deck(np.flatnonzero(labels == name), generator) for name in range(len(names))]
        turns = Deck(np.arange(len(names)), generator)
        batches = max(1, len(rows) // (self.identities * self.images))
        return [
            row
            for _ in range(batches)
            for name in turns.draw(self.identities)
            for row in decks[name].draw(self.images)
        ]


class Deck:
    """Cards drawn in a shuffled order, and shuffled again when all were drawn; a hand has none
    twice where there are enough.
    """

    def __init__(self, cards: np.ndarray[Any, np.dtype[np.intp]], generator: torch.Generator) -> None:
        self._cards, self._generator = cards.tolist(), generator
        self._left: list[int] = []

    def draw(self, count: int) -> list[int]:
        hand: list[int] = []
        while len(hand) < count:
            if not self._left:
                self._left = [
                    self._cards[i]
                    for i in torch.randperm(len(self._cards), generator=self._generator).tolist()
                ]
            fresh = next((i for i, card in enumerate(self._left) if card not in hand), None)
            hand.append(self._left.pop(0 if fresh is None else fresh))
        return hand


class FirstOfEach:
    """Only ``count`` rows of each class, those whose ids come first by a hash with the seed: few
    are part of more.
    """

    def __init__(self, inner: Sampler, count: int, stratify: str | None) -> None:
        self.inner, self.count = inner, count
        self.column = required(stratify, "train.images_per_class", str(count))

    def order(self, rows: Columns, seed: int, epoch: int) -> Sequence[int]:
        labels = rows.column(self.column)
        ids = rows.column("id")
        taken: dict[Any, int] = {}
        chosen = []
        for row in sorted(range(len(ids)), key=lambda i: seed_of(seed, ids[i])):
            taken[labels[row]] = taken.get(labels[row], 0) + 1
            if taken[labels[row]] <= self.count:
                chosen.append(row)
        chosen.sort()
        return [chosen[i] for i in self.inner.order(Part(rows, chosen), seed, epoch)]


class Part:
    """Some rows of a split."""

    def __init__(self, rows: Columns, indices: Sequence[int]) -> None:
        self._rows, self._indices = rows, indices

    def __len__(self) -> int:
        return len(self._indices)

    def column(self, name: str) -> list[Any]:
        all_values = self._rows.column(name)
        return [all_values[i] for i in self._indices]


def required(stratify: str | None, key: str, value: str) -> str:
    """The column of the classes; RequestError where the task has none."""
    if stratify is None:
        raise RequestError(Fault(key, value, "a task whose rows have one class each", f"Leave {key} out."))
    return stratify


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
