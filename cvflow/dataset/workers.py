"""Every record read and looked at, in order: files by several threads, pixels by as many processes as there are cores."""

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
    Asked,
    Histogram,
    Look,
    Terms,
    begin,
    look_at,
)
from cvflow.dataset.split import SplitPlan
from cvflow.dataset.statistics import Tally
from cvflow.errors import CvflowError
from cvflow.formats.record import Format, Record
from cvflow.types import Schema, Split

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PROCESSES_FROM = 2000
"""Records from which processes are worth their start. Python's lock lets threads use one core on small images."""
COMPARED = 5000
"""Images that are compared with each other by their thumbnails."""
CHUNK_BYTES, CHUNK_RECORDS = 2**21, 64
A = TypeVar("A")
T = TypeVar("T")
Looking = Callable[[Sequence[Asked]], tuple[list[Look], Histogram]]


class Usable(NamedTuple):
    """data: name of an image or map -> encoded bytes."""

    record: Record
    split: Split
    data: dict[str, bytes]


class Item(NamedTuple):
    """compared: whether its thumbnail is wanted. counted: whether its pixels are."""

    record: Record
    split: Split
    compared: bool
    counted: bool


def examine(
    reader: Format, plan: SplitPlan, tally: Tally, schema: Schema, max_megapixels: float
) -> Iterator[Usable]:
    """The records whose images and annotations can be used; all of them are counted in the tally."""
    compared = plan.drawn(COMPARED if tally.labelled else 0)
    given = zip(plan.over(reader), compared, strict=False)
    items = (Item(record, split, bool(drawn), split == plan.base) for (record, split), drawn in given)
    with _looking(len(plan), Terms(max_megapixels, schema.kinds, tuple(reader.classes))) as looking:
        chunks = Chunks(items)
        for chunk, asked, (looks, pixels) in _in_order(partial(_examined, chunks, schema, looking), chunks):
            tally.add_pixels(pixels)
            for item, one, look in zip(chunk, asked, looks, strict=True):
                tally.add(item.record, item.split, look)
                if not look.fault:
                    yield Usable(item.record, item.split, {**one.images, **one.values})


class Chunks:
    """Items in runs of about CHUNK_BYTES, judged by the last run that was read."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items, self._length = iter(items), 8

    def __iter__(self) -> Iterator[list[Item]]:
        while chunk := list(islice(self._items, self._length)):
            yield chunk

    def was_read(self, records: int, size: int) -> None:
        self._length = max(1, min(CHUNK_RECORDS, CHUNK_BYTES * records // (size + 1)))


def _examined(
    chunks: Chunks, schema: Schema, looking: Looking, chunk: list[Item]
) -> tuple[list[Item], list[Asked], tuple[list[Look], Histogram]]:
    asked = [_read(item, schema) for item in chunk]
    chunks.was_read(
        len(chunk), sum(len(data) for one in asked for data in (*one.images.values(), *one.values.values()))
    )
    return chunk, asked, looking(asked)


def _read(item: Item, schema: Schema) -> Asked:
    images: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    fault, topic, column = None, UNREADABLE, ""
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
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        fault = f"unreadable file: {getattr(error, 'strerror', None) or error}"
    return Asked(images, item.counted, item.compared, fault, topic, column, values)


def _value(record: Record, column: str, schema: Schema) -> dict[str, Any]:
    """Of an annotation that lies in the pixels; none where it is missing and has a default, else ImageFault."""
    if column in record.maps:
        return {column: record.maps[column]()}
    if record.annotation.get(column) is not None:
        return {column: record.annotation[column]}
    if column not in schema.defaults:
        raise ImageFault(f"no {column}")
    return {}


@contextmanager
def _looking(records: int, terms: Terms) -> Iterator[Looking]:
    """Looks in the calling thread where there are few records, else in processes."""
    if records < PROCESSES_FROM or CORES == 1:
        yield partial(look_at, terms=terms)
        return
    pool = ProcessPoolExecutor(CORES, mp_context=get_context("spawn"), initializer=begin)
    try:
        yield lambda asked: pool.submit(look_at, asked, terms).result()
    except BrokenProcessPool as error:
        raise CvflowError(
            "A process that decodes images ended: memory is short, or was taken. Lower data.max_megapixels."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(work: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
    """``work`` of each item by several threads, in order; only a few items are under way at once."""
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
