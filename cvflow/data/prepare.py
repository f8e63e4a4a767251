"""Any format in, a prepared dataset out: every image checked, split, written; as a stream.

The source is only read. Same input, same bytes out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from cvflow.config import SplitRule
from cvflow.data.dataset import FILE, Description, write_description
from cvflow.data.images import ImageFault, Pixels, decode
from cvflow.data.records import Format, Record
from cvflow.data.shards import Shard, ShardWriter
from cvflow.data.split import SplitPlan
from cvflow.data.tally import Checked, Histogram, Tally
from cvflow.data.validation import Validation
from cvflow.errors import Fault, RequestError
from cvflow.types import SPLITS, DatasetInfo, Schema, Split

THREADS = min(8, os.cpu_count() or 1)
A = TypeVar("A")
T = TypeVar("T")


def prepare(reader: Format, schema: Schema, task: str, rule: SplitRule, out: Path, shard_mb: int) -> Validation:
    """Write the prepared dataset at ``out``, which appears once it is whole.

    Records with an unreadable image are left out and named. RequestError where too little is left to train on.
    """
    with _aside(out) as directory:
        plan = SplitPlan(reader, rule, schema.stratify)
        tally = Tally(reader.classes, schema.stratify)
        writers = {split: ShardWriter(directory, split, schema, shard_mb * 1_000_000) for split in SPLITS}
        for checked in _in_order(lambda given: check(*given, schema.images), plan.over(reader)):
            tally.add(checked)
            if not checked.fault:
                record = checked.record
                writers[checked.split].add({"id": record.id, "path": record.path, **checked.data, **schema.defaults, **record.annotation})
        shards: dict[str, list[Shard]] = {split: writer.close() for split, writer in writers.items()}
        tally.require_usable()
        validation = tally.validation(reader)
        mean, std = tally.mean_std()
        extra = {"class_counts": tally.class_counts}
        info = DatasetInfo(task, tuple(reader.classes), tally.counts, mean, std, tally.source_digest, extra)
        write_description(directory, Description(info, shards))
        validation.write(directory)
    return validation


def check(record: Record, split: Split, images: tuple[str, ...]) -> Checked:
    """Read and decode the record's images."""
    data: dict[str, bytes] = {}
    content, pixels, fault = hashlib.blake2b(digest_size=16), None, None
    try:
        record.id.encode()
        for name in images:
            data[name] = record.images[name]()
            content.update(data[name])
        decoded = [decode(encoded) for encoded in data.values()]
        pixels = histogram(decoded[0]) if split == "train" else None
    except ImageFault as error:
        fault = str(error)
    except UnicodeEncodeError:
        fault = "a file name that is not UTF-8"
    except OSError as error:
        fault = f"unreadable file: {error.strerror or type(error).__name__}"
    return Checked(record, split, data, content.digest(), pixels, fault)


def histogram(pixels: Pixels) -> Histogram:
    """3 x 256 counts of HxWx3 pixels."""
    return np.asarray(Image.fromarray(pixels).histogram(), dtype=np.int64).reshape(3, 256)


def _in_order(work: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
    """``work`` of each item by several threads, in order; only a few items are under way at once."""
    window: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            window.append(pool.submit(work, item))
            if len(window) >= 4 * THREADS:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A new directory beside ``out`` that takes its place at the end, or goes where the work fails."""
    if out.exists() and not (out / FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        fix = "Remove it, or name another."
        raise RequestError(Fault(str(out), "something else than a prepared dataset", "a new or empty folder", fix))
    directory = out.with_name(f".{out.name}.partial")
    shutil.rmtree(directory, ignore_errors=True)  # of a prepare that was killed
    directory.mkdir(parents=True)
    try:
        yield directory
        shutil.rmtree(out, ignore_errors=True)
        directory.rename(out)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
