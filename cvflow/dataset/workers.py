"""Every record read and inspected, in order: files by several threads, pixels by a process for each core."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeVar

from cvflow.annotations.image import ImageFault
from cvflow.dataset.inspect_record import (
    MISANNOTATED,
    UNREADABLE,
    Encoded,
    Histogram,
    Inspection,
    Rules,
    begin,
    inspect_all,
)
from cvflow.dataset.split import SplitPlan
from cvflow.dataset.statistics import Tally
from cvflow.errors import CvflowError
from cvflow.formats.record import Format, Record
from cvflow.types import Schema, Split

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PROCESSES_FROM = 2000
"""Records from which processes are worth their start.

Below that, threads do the work, though Python's lock lets them use only one core on small images.
"""
COMPARED = 5000
"""Images that are compared with each other by their thumbnails."""
CHUNK_BYTES = 2**21
CHUNK_RECORDS = 64
FIRST_CHUNK_RECORDS = 8
A = TypeVar("A")
T = TypeVar("T")
Inspect = Callable[[Sequence[Encoded]], tuple[list[Inspection], Histogram]]


class Usable(NamedTuple):
    """A record that can be used. data: image or annotation -> its value in the row."""

    record: Record
    split: Split
    data: dict[str, Any]


class Item(NamedTuple):
    """A record to inspect. compared: whether it needs a thumbnail. counted: whether its pixels count."""

    record: Record
    split: Split
    compared: bool
    counted: bool


class Inspected(NamedTuple):
    """A chunk of items with what was read of them and the inspections, in the same order."""

    items: list[Item]
    encoded: list[Encoded]
    inspections: list[Inspection]
    pixels: Histogram


def examine(
    reader: Format, plan: SplitPlan, tally: Tally, schema: Schema, max_megapixels: float
) -> Iterator[Usable]:
    """Yield the records whose images and annotations can be used; all records are counted in the tally."""
    rules = Rules(max_megapixels, schema.kinds, tuple(reader.classes))
    chunks = Chunks(_items(reader, plan, tally.labelled))
    with _inspector(len(plan), rules) as inspect:
        work = partial(_inspect_chunk, chunks, schema, inspect)
        for chunk in _in_order(work, chunks):
            tally.add_pixels(chunk.pixels)
            for item, encoded, inspection in zip(chunk.items, chunk.encoded, chunk.inspections, strict=True):
                tally.add(item.record, item.split, inspection)
                if not inspection.fault:
                    yield Usable(item.record, item.split, {**encoded.images, **encoded.values})


def _items(reader: Format, plan: SplitPlan, labelled: bool) -> Iterator[Item]:
    """Yield every record with its split. Only labelled records are compared, to doubt their labels."""
    drawn = plan.drawn(COMPARED if labelled else 0)
    # The plan comes first, so that zip asks it once more at the end: then it raises if records are missing.
    for (record, split), compared in zip(plan.over(reader), drawn, strict=False):
        counted = split == plan.base
        yield Item(record, split, bool(compared), counted)


class Chunks:
    """Items in runs of about CHUNK_BYTES, judged by the last run that was read."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._length = FIRST_CHUNK_RECORDS

    def __iter__(self) -> Iterator[list[Item]]:
        while chunk := list(islice(self._items, self._length)):
            yield chunk

    def was_read(self, records: int, size: int) -> None:
        """Choose the length of the next runs. size: bytes of a run of ``records`` items."""
        # One byte more, because an empty run would divide by zero.
        fitting = CHUNK_BYTES * records // (size + 1)
        self._length = max(1, min(CHUNK_RECORDS, fitting))


def _inspect_chunk(chunks: Chunks, schema: Schema, inspect: Inspect, items: list[Item]) -> Inspected:
    encoded = [_read(item, schema) for item in items]
    size = sum(map(_size, encoded))
    chunks.was_read(len(items), size)
    inspections, pixels = inspect(encoded)
    return Inspected(items, encoded, inspections, pixels)


def _size(encoded: Encoded) -> int:
    """Return the length of all images and annotations of a record: bytes, or numbers of a box."""
    images = sum(map(len, encoded.images.values()))
    values = sum(map(len, encoded.values.values()))
    return images + values


def _read(item: Item, schema: Schema) -> Encoded:
    """Return a record with its files read; a file that cannot be read is a fault of the record."""
    images: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    fault = None
    # A fault is reported with the column and topic that were being worked on.
    topic = UNREADABLE
    column = ""
    try:
        item.record.id.encode()
        for column in schema.images:
            images[column] = item.record.images[column]()
        topic = MISANNOTATED
        for column in schema.kinds:
            values |= _value(item.record, column, schema)
    except ImageFault as error:
        fault = str(error)
    except UnicodeEncodeError:
        fault = "a file name that is not UTF-8"
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        fault = f"unreadable file: {getattr(error, 'strerror', None) or error}"
    return Encoded(images, item.counted, item.compared, fault, topic, column, values)


def _value(record: Record, column: str, schema: Schema) -> dict[str, Any]:
    """Return an annotation that lies in the pixels by its column.

    Empty if it is missing and has a default; raises ImageFault if it is missing and has none.
    """
    if column in record.maps:
        return {column: record.maps[column]()}
    if record.annotation.get(column) is not None:
        return {column: record.annotation[column]}
    if column not in schema.defaults:
        raise ImageFault(f"no {column}")
    return {}


@contextmanager
def _inspector(records: int, rules: Rules) -> Iterator[Inspect]:
    """Provide inspection in the calling thread if there are few records, else in processes."""
    if records < PROCESSES_FROM or CORES == 1:
        yield partial(inspect_all, rules=rules)
        return
    pool = ProcessPoolExecutor(CORES, mp_context=get_context("spawn"), initializer=begin)
    try:
        yield partial(_inspect_elsewhere, pool, rules)
    except BrokenProcessPool as error:
        raise CvflowError(
            "A process that decodes images ended: memory is short, or was taken. Lower data.max_megapixels."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _inspect_elsewhere(
    pool: ProcessPoolExecutor, rules: Rules, encoded: Sequence[Encoded]
) -> tuple[list[Inspection], Histogram]:
    return pool.submit(inspect_all, encoded, rules).result()


def _in_order(work: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
    """Yield ``work`` of each item in order, done by several threads.

    Only a few items are in progress at once, so memory does not grow with the data.
    """
    window: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(2 * CORES)
    try:
        for item in items:
            window.append(pool.submit(work, item))
            if len(window) >= 3 * CORES:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
