"""Batches of one rank, in an order and with an augmentation that no division of the work changes.

A sample's random transforms are seeded by (seed, epoch, sample id); what is drawn for a batch, by (seed, epoch, its place in the order).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cvflow.errors import Fault, RequestError
from cvflow.loading import worker
from cvflow.loading.mixing import Mix
from cvflow.loading.prefetch import ahead, drawing
from cvflow.types import Batch, Row, Sample

STALLED = 1800.0
"""Seconds after which a loader process that gives nothing is an error."""

Key = tuple[int, int, int]
"""(epoch, row index, how often the row came before in the epoch's order)"""


class Plan(NamedTuple):
    """One batch of a rank. partners: what each key is mixed with, none where nothing is mixed; seed: of the mixing."""

    keys: Sequence[Key]
    partners: Sequence[Key] = ()
    seed: int = 0


class Rows(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...


class Sampling(Protocol):
    """The part of a task that loading needs."""

    def samples(self, row: Row) -> Iterable[Sample]: ...

    def collate(self, samples: Sequence[Sample]) -> Batch: ...


def seed_of(*parts: object) -> int:
    """A seed of 63 bits from numbers and strings; the same in every process and version."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class BatchSet(Dataset[Batch]):
    """Plan -> batch of transformed samples. seed: None = the transform draws nothing. mix: for plans with partners."""

    def __init__(
        self,
        task: Sampling,
        rows: Rows,
        transform: Callable[[Sample], Sample],
        seed: int | None,
        mix: Mix | None = None,
    ) -> None:
        self._task, self._rows, self._transform, self._seed, self._mix = task, rows, transform, seed, mix

    def __getitem__(self, plan: Plan) -> Batch:
        found = self._samples(list(dict.fromkeys([*plan.keys, *plan.partners])))
        batch = self._task.collate([sample for key in plan.keys for sample in found[key]])
        if self._mix is None or not plan.partners:
            return batch
        pairs = zip(plan.keys, plan.partners, strict=True)
        partners = [mate for key, partner in pairs for mate in _mates(found[key], found[partner])]
        return self._mix(batch, self._task.collate(partners), np.random.default_rng(plan.seed))

    def _samples(self, keys: Sequence[Key]) -> dict[Key, list[Sample]]:
        """All read, all decoded, all transformed: a third faster than row by row, as each stage's code stays in the caches."""
        rows = [self._rows[index] for _, index, _ in keys]
        decoded = [list(self._task.samples(row)) for row in rows]
        with drawing():
            return {
                key: [self._transformed(key, s) for s in samples]
                for key, samples in zip(keys, decoded, strict=True)
            }

    def _transformed(self, key: Key, sample: Sample) -> Sample:
        """A row may give several; each is seeded by its id, and by its number where the row comes again in the epoch."""
        epoch, _, again = key
        if self._seed is not None:
            # not torch.manual_seed: that reseeds the GPUs as well, at a thousand times the cost
            torch.default_generator.manual_seed(
                seed_of(self._seed, epoch, sample.id, *([again] if again else []))
            )
        return self._transform(sample)


def _mates(own: Sequence[Sample], other: Sequence[Sample]) -> list[Sample]:
    """A partner for each sample of a row: those of the other row in turn; its own where that row has none."""
    return [(other or own)[i % len(other or own)] for i in range(len(own))]


def train_batches(
    task: Sampling,
    rows: Rows,
    transform: Callable[[Sample], Sample],
    order: Sequence[int],
    batch_size: int,
    rank: int,
    world_size: int,
    epoch: int,
    seed: int,
    loader_workers: int = 0,
    start: int = 0,
    mix: Mix | None = None,
) -> Iterator[Batch]:
    """This rank's share of each global batch: every world_size-th of ``batch_size`` consecutive entries of the order.

    start: the sample offset in the order at which to go on. A last short batch is dropped; a dataset smaller than
    one batch makes one of all its rows. mix: mixes each image with that of a partner in the global batch, which this rank
    loads too where it is another's: so the mixed samples are the same at any world size.
    """
    size = min(batch_size, len(order))
    if size < world_size:
        fix = "Type a greater train.batch_size or fewer compute.workers."
        raise RequestError(
            Fault(
                "train.batch_size",
                f"batches of {size}",
                f"a sample or more for each of {world_size} workers",
                fix,
            )
        )
    firsts = range(start, len(order) - size + 1, size)
    keys = _keys(order, epoch)
    own = slice(rank, size, world_size)
    plans = [
        Plan(batch[own], *_mixing(batch, own, seed, epoch, first, mix))
        for first in firsts
        for batch in [keys[first : first + size]]
    ]
    return _load(BatchSet(task, rows, transform, seed, mix), plans, loader_workers)


def row_alone(
    row: int, order: Sequence[int], batch_size: int, epoch: int, seed: int, mix: Mix | None = None
) -> Plan:
    """A row as it first comes in the batches of an epoch, mixed with the same partner by the same draw; one left out is unmixed."""
    size, keys = min(batch_size, len(order)), _keys(order, epoch)
    place = next((i for i, (_, index, _) in enumerate(keys) if index == row), len(keys))
    first = place - place % size
    batch, at = keys[first : first + size], place - first
    if at >= len(batch) or len(batch) < size:
        return Plan([(epoch, row, 0)])
    own = slice(at, at + 1)
    return Plan(batch[own], *_mixing(batch, own, seed, epoch, first, mix))


def _keys(order: Sequence[int], epoch: int) -> list[Key]:
    if len(set(order)) == len(order):
        return [(epoch, int(row), 0) for row in order]
    seen: Counter[int] = Counter()
    keys = []
    for row in map(int, order):
        keys.append((epoch, row, seen[row]))
        seen[row] += 1
    return keys


def _mixing(
    batch: Sequence[Key], own: slice, seed: int, epoch: int, first: int, mix: Mix | None
) -> tuple[Sequence[Key], int]:
    """(partners of this rank's part of a global batch, the seed of the mixing): the same permutation and seed on every rank."""
    if mix is None:
        return (), 0
    partner = np.random.default_rng(seed_of(seed, epoch, first, "partners")).permutation(len(batch))
    return [batch[i] for i in partner[own]], seed_of(seed, epoch, first, "mix")


def eval_batches(
    task: Sampling,
    rows: Rows,
    transform: Callable[[Sample], Sample],
    batch_size: int,
    rank: int,
    world_size: int,
    loader_workers: int = 0,
) -> Iterator[Batch]:
    """Batches of consecutive rows, batch i on rank i mod world_size; nothing is dropped."""
    firsts = range(rank * batch_size, len(rows), world_size * batch_size)
    plans = [Plan([(0, i, 0) for i in range(first, min(first + batch_size, len(rows)))]) for first in firsts]
    return _load(BatchSet(task, rows, transform, None), plans, loader_workers)


def _load(batches: BatchSet, plans: Sequence[Plan], loader_workers: int) -> Iterator[Batch]:
    """In a thread of this process, ahead of what is asked for; with loader_workers, in as many processes."""
    if not loader_workers:
        return ahead(map(batches.__getitem__, plans))
    own = torch.Generator()  # the loader draws a number for its workers; from here it changes nothing else
    one: dict[str, Any] = {
        "batch_size": None,
        "sampler": plans,
        "collate_fn": _as_it_is,
    }  # a plan is a whole batch
    loader: DataLoader[Batch] = DataLoader(
        batches,
        **one,
        num_workers=loader_workers,
        generator=own,
        worker_init_fn=worker.start,
        timeout=STALLED,
    )
    return iter(loader)


def _as_it_is(batch: Batch) -> Batch:
    return batch
