"""Batches of one rank, in an order and with an augmentation that no division of the work changes.

A sample is named by (epoch, row index); its random transforms are seeded by (seed, epoch, sample id).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from cvflow.errors import Fault, RequestError
from cvflow.types import Batch, Row, Sample

Key = tuple[int, int]
"""(epoch, row index)"""


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


class SampleSet(Dataset[list[Sample]]):
    """The transformed samples of each row, a list: a row may give several. seed: None = the transform draws nothing."""

    def __init__(self, task: Sampling, rows: Rows, transform: Callable[[Sample], Sample], seed: int | None) -> None:
        self._task, self._rows, self._transform, self._seed = task, rows, transform, seed

    def __getitem__(self, key: Key) -> list[Sample]:
        epoch, index = key
        samples = self._task.samples(self._rows[index])
        if self._seed is None:
            return [self._transform(sample) for sample in samples]
        with _generator_kept():
            return [self._seeded(sample, epoch) for sample in samples]

    def _seeded(self, sample: Sample, epoch: int) -> Sample:
        # not torch.manual_seed: that reseeds the GPUs as well, at a thousand times the cost
        torch.default_generator.manual_seed(seed_of(self._seed, epoch, sample.id))
        return self._transform(sample)


@contextmanager
def _generator_kept() -> Iterator[None]:
    """Dropout draws from the same generator in this process: it must not notice the loading."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


class _Collate:
    """The samples of several rows as one batch; a class, so that it crosses to loader processes."""

    def __init__(self, task: Sampling) -> None:
        self._task = task

    def __call__(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        return self._task.collate([sample for samples in rows for sample in samples])


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
) -> Iterator[Batch]:
    """This rank's share of each global batch: every world_size-th of ``batch_size`` consecutive entries of the order.

    start: the sample offset in the order at which to go on. A last short batch is dropped; a dataset smaller than
    one batch makes one of all its rows.
    """
    size = min(batch_size, len(order))
    if size < world_size:
        fix = "Type a greater train.batch_size or fewer compute.workers."
        raise RequestError(Fault("train.batch_size", f"batches of {size}", f"a sample or more for each of {world_size} workers", fix))
    firsts = range(start, len(order) - size + 1, size)
    keys = [[(epoch, int(i)) for i in order[first + rank : first + size : world_size]] for first in firsts]
    return _load(task, SampleSet(task, rows, transform, seed), keys, loader_workers)


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
    keys = [[(0, i) for i in range(first, min(first + batch_size, len(rows)))] for first in firsts]
    return _load(task, SampleSet(task, rows, transform, None), keys, loader_workers)


def _load(task: Sampling, samples: SampleSet, keys: Sequence[Sequence[Key]], loader_workers: int) -> Iterator[Batch]:
    own = torch.Generator()  # the loader draws a number for its workers; from here it changes nothing else
    return iter(DataLoader(samples, batch_sampler=keys, collate_fn=_Collate(task), num_workers=loader_workers, generator=own))  # type: ignore[arg-type]
