"""Batches of one rank, in an order and with an augmentation that no division of the work changes.

A sample's random transforms are seeded by (seed, epoch, sample id); what is drawn for a batch, by
(seed, epoch, its place in the order).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cvflow.errors import Fault, RequestError
from cvflow.loading import worker
from cvflow.loading.division import Item, consecutive
from cvflow.loading.mixing import Mix
from cvflow.loading.prefetch import ahead, drawing
from cvflow.types import Batch, Row, Sample, Schema

B = TypeVar("B")

STALLED = 1800.0
"""Seconds after which a loader process that gives nothing is an error."""


class Key(NamedTuple):
    """One sample in an epoch. repeat: how often its row came before in the epoch's order."""

    epoch: int
    row: int
    repeat: int
    sample: int


class Plan(NamedTuple):
    """One training batch of a rank. partners: what each key is mixed with, none if nothing is
    mixed; seed: of the mixing.
    """

    keys: Sequence[Key]
    partners: Sequence[Key] = ()
    seed: int = 0


@dataclass(frozen=True)
class RowBatch:
    """Some rows and all of their samples as one batch.

    rows: without their images. owners: for each sample the place of its row among the rows. batch:
    None without samples.
    """

    rows: Sequence[Row]
    batch: Batch | None
    owners: list[int]


class Rows(Protocol):
    """Rows by their places. column: one column of every row."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    def column(self, name: str) -> Sequence[Any]: ...


class Sampling(Protocol):
    """The part of a task that loading needs."""

    @property
    def schema(self) -> Schema: ...

    def count(self, rows: Rows) -> Sequence[int] | None: ...

    def samples(self, row: Row) -> Iterable[Sample]: ...

    def collate(self, samples: Sequence[Sample]) -> Batch: ...


def seed_of(*parts: object) -> int:
    """A seed of 63 bits from numbers and strings; the same in every process and version."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class BatchSet(Dataset[Batch]):
    """Plan -> batch of transformed samples. seed: None = the transform draws nothing. mix: for
    plans with partners.
    """

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
        samples = self._samples(list(dict.fromkeys([*plan.keys, *plan.partners])))
        batch = self._task.collate([samples[key] for key in plan.keys])
        if self._mix is None or not plan.partners:
            return batch
        partners = self._task.collate([samples[key] for key in plan.partners])
        return self._mix(batch, partners, np.random.default_rng(plan.seed))

    def _samples(self, keys: Sequence[Key]) -> dict[Key, Sample]:
        """All read, all decoded, all transformed: a third faster than row by row, as each stage's
        code stays in the caches.
        """
        rows = {key: self._rows[key.row] for key in dict.fromkeys(key._replace(sample=0) for key in keys)}
        decoded = {key: list(self._task.samples(row)) for key, row in rows.items()}
        with drawing():
            return {key: self._transformed(key, decoded[key._replace(sample=0)][key.sample]) for key in keys}

    def _transformed(self, key: Key, sample: Sample) -> Sample:
        """Each sample is seeded by its id, and by its number if its row comes again in the epoch."""
        if self._seed is not None:
            parts = [key.repeat] if key.repeat else []
            # not torch.manual_seed: that reseeds the GPUs as well, at a thousand times the cost
            torch.default_generator.manual_seed(seed_of(self._seed, key.epoch, sample.id, *parts))
        return self._transform(sample)


class RowBatchSet(Dataset[RowBatch]):
    """Row indices -> these rows with all of their samples, transformed without chance."""

    def __init__(self, task: Sampling, rows: Rows, transform: Callable[[Sample], Sample]) -> None:
        self._task, self._rows, self._transform = task, rows, transform

    def __getitem__(self, indices: Sequence[int]) -> RowBatch:
        rows = [self._rows[index] for index in indices]
        decoded = [list(self._task.samples(row)) for row in rows]
        owners: list[int] = []
        samples: list[Sample] = []
        for place, of_row in enumerate(decoded):
            owners += [place] * len(of_row)
            samples += map(self._transform, of_row)
        images = self._task.schema.images
        annotations = [{name: value for name, value in row.items() if name not in images} for row in rows]
        return RowBatch(annotations, self._task.collate(samples) if samples else None, owners)


def train_batches(
    task: Sampling,
    rows: Rows,
    transform: Callable[[Sample], Sample],
    order: Sequence[Item],
    batch_size: int,
    rank: int,
    world_size: int,
    epoch: int,
    seed: int,
    loader_workers: int = 0,
    start: int = 0,
    mix: Mix | None = None,
) -> Iterator[Batch]:
    """This rank's share of each global batch: every world_size-th of ``batch_size`` consecutive
    entries of the order.

    start: the sample offset in the order at which to go on. A last short batch is dropped; a
    dataset smaller than one batch makes one of all its samples. mix: mixes each image with that of
    a partner in the global batch, which this rank loads too where it is another's: so the mixed
    samples are the same at any world size.
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
    rank_part = slice(rank, size, world_size)
    plans = [
        Plan(batch[rank_part], *_mixing(batch, rank_part, seed, epoch, first, mix))
        for first in firsts
        for batch in [keys[first : first + size]]
    ]
    return _load(BatchSet(task, rows, transform, seed, mix), plans, loader_workers)


def row_alone(
    row: int, order: Sequence[Item], batch_size: int, epoch: int, seed: int, mix: Mix | None = None
) -> Plan:
    """A row's first sample as it first comes in the batches of an epoch, mixed with the same
    partner by the same draw.

    A sample that a last short batch leaves out is not mixed.
    """
    size, keys = min(batch_size, len(order)), _keys(order, epoch)
    place = next((i for i, key in enumerate(keys) if key.row == row), len(keys))
    first = place - place % size
    batch, place_in_batch = keys[first : first + size], place - first
    if place_in_batch >= len(batch) or len(batch) < size:
        return Plan([Key(epoch, row, 0, 0)])
    rank_part = slice(place_in_batch, place_in_batch + 1)
    return Plan(batch[rank_part], *_mixing(batch, rank_part, seed, epoch, first, mix))


def _keys(order: Sequence[Item], epoch: int) -> list[Key]:
    repeats: Counter[Item] = Counter()
    keys = []
    for item in order:
        row, sample = item
        keys.append(Key(epoch, row, repeats[item], sample))
        repeats[item] += 1
    return keys


def _mixing(
    batch: Sequence[Key], rank_part: slice, seed: int, epoch: int, first: int, mix: Mix | None
) -> tuple[Sequence[Key], int]:
    """(partners of this rank's part of a global batch, the seed of the mixing): the same
    permutation and seed on every rank.
    """
    if mix is None:
        return (), 0
    partner = np.random.default_rng(seed_of(seed, epoch, first, "partners")).permutation(len(batch))
    return [batch[i] for i in partner[rank_part]], seed_of(seed, epoch, first, "mix")


def eval_batches(
    task: Sampling,
    rows: Rows,
    transform: Callable[[Sample], Sample],
    batch_size: int,
    rank: int,
    world_size: int,
    loader_workers: int = 0,
) -> Iterator[RowBatch]:
    """Batches of consecutive rows, batch i on rank i mod world_size; nothing is dropped.
    batch_size: counts samples.
    """
    parts = consecutive(len(rows), task.count(rows), batch_size)
    return _load(RowBatchSet(task, rows, transform), parts[rank::world_size], loader_workers)


def _load(batches: Dataset[B], plans: Sequence[Any], loader_workers: int) -> Iterator[B]:
    """In a thread of this process, ahead of what is asked for; with loader_workers, in as many processes."""
    if not loader_workers:
        return ahead(map(batches.__getitem__, plans))
    # the loader draws a number for its workers; from here it changes nothing else
    rank_part = torch.Generator()
    one: dict[str, Any] = {
        "batch_size": None,
        "sampler": plans,
        "collate_fn": _as_it_is,
    }  # a plan is a whole batch
    loader: DataLoader[B] = DataLoader(
        batches,
        **one,
        num_workers=loader_workers,
        generator=rank_part,
        worker_init_fn=worker.start,
        timeout=STALLED,
    )
    return iter(loader)


def _as_it_is(batch: B) -> B:
    return batch
