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
from typing import NamedTuple, TypeVar

from cvflow.data.images import ImageFault
from cvflow.data.look import Asked, Histogram, Look, begin, look_at
from cvflow.data.records import Format, Record
from cvflow.data.split import SplitPlan
from cvflow.data.tally import Tally
from cvflow.errors import CvflowError
from cvflow.types import Split

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
    """data: image name -> encoded bytes."""

    record: Record
    split: Split
    data: dict[str, bytes]


class Item(NamedTuple):
    """compared: whether its thumbnail is wanted."""

    record: Record
    split: Split
    compared: bool


def examine(reader: Format, plan: SplitPlan, tally: Tally, images: Sequence[str], max_megapixels: float) -> Iterator[Usable]:
    """The records whose images can be used; all of them are counted in the tally."""
    compared = plan.drawn(COMPARED if tally.labelled else 0)
    items = (Item(*given, bool(drawn)) for given, drawn in zip(plan.over(reader), compared, strict=False))
    with _looking(len(plan), max_megapixels) as looking:
        chunks = Chunks(items)
        for chunk, asked, (looks, pixels) in _in_order(partial(_examined, chunks, images, looking), chunks):
            tally.add_pixels(pixels)
            for item, one, look in zip(chunk, asked, looks, strict=True):
                tally.add(item.record, item.split, look)
                if not look.fault:
                    yield Usable(item.record, item.split, dict(zip(images, one.images, strict=True)))


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
    chunks: Chunks, images: Sequence[str], looking: Looking, chunk: list[Item]
) -> tuple[list[Item], list[Asked], tuple[list[Look], Histogram]]:
    asked = [_read(item, images) for item in chunk]
    chunks.was_read(len(chunk), sum(len(data) for one in asked for data in one.images))
    return chunk, asked, looking(asked)


def _read(item: Item, images: Sequence[str]) -> Asked:
    data: list[bytes] = []
    fault = None
    try:
        item.record.id.encode()
        data += [item.record.images[name]() for name in images]
    except ImageFault as error:
        fault = str(error)
    except UnicodeEncodeError:
        fault = "a file name that is not UTF-8"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        fault = f"unreadable file: {getattr(error, 'strerror', None) or error}"
    return Asked(data, item.split == "train", item.compared, fault)


@contextmanager
def _looking(records: int, max_megapixels: float) -> Iterator[Looking]:
    """Looks in the calling thread where there are few records, else in processes."""
    if records < PROCESSES_FROM or CORES == 1:
        yield partial(look_at, max_megapixels=max_megapixels)
        return
    pool = ProcessPoolExecutor(CORES, mp_context=get_context("spawn"), initializer=begin)
    try:
        yield lambda asked: pool.submit(look_at, asked, max_megapixels).result()
    except BrokenProcessPool as error:
        raise CvflowError("A process that decodes images ended: memory is short, or was taken. Lower data.max_megapixels.") from error
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
