"""Any format in, a prepared dataset out: every image checked, split, written; as a stream.

The source is only read. Same input, same bytes out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvflow.annotations.image import MAX_MEGAPIXELS
from cvflow.config import SplitRule
from cvflow.dataset.prepared import FILE, Description, write_description
from cvflow.dataset.shards import Shard, ShardWriter
from cvflow.dataset.split import SplitPlan
from cvflow.dataset.statistics import Tally
from cvflow.dataset.validation import Validation
from cvflow.dataset.workers import examine
from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format
from cvflow.types import SPLITS, DatasetInfo, Schema


def prepare(
    reader: Format,
    schema: Schema,
    task: str,
    rule: SplitRule,
    out: Path,
    shard_mb: int,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Validation:
    """Write the prepared dataset to ``out``, which appears only once it is complete.

    Records with an unreadable image or a wrong annotation are left out and named in the report that is
    returned. Raises RequestError if too little is left to train on.
    """
    with _aside(out) as directory:
        plan = SplitPlan(reader, rule, schema.stratify)
        tally = Tally(reader.classes, schema.stratify, schema.identity)
        writers = {split: ShardWriter(directory, split, schema, shard_mb * 1_000_000) for split in SPLITS}
        for record, split, data in examine(reader, plan, tally, schema, max_megapixels):
            row = {"id": record.id, "path": record.path, **schema.defaults, **record.annotation, **data}
            writers[split].add(row)
        shards: dict[str, list[Shard]] = {split: writer.close() for split, writer in writers.items()}
        tally.require_usable(plan.base)
        validation = tally.validation(reader)
        info = _info(tally, task, reader.classes, max_megapixels)
        write_description(directory, Description(info, shards))
    return validation


def inspect(reader: Format, schema: Schema, max_megapixels: float = MAX_MEGAPIXELS) -> Validation:
    """Return the report of prepare without writing anything.

    Records without a given split count for train.
    """
    all_train = SplitRule(val=0, test=0)
    plan = SplitPlan(reader, all_train, schema.stratify)
    tally = Tally(reader.classes, schema.stratify, schema.identity)
    for _ in examine(reader, plan, tally, schema, max_megapixels):
        # The tally counts each record as it passes; the rows themselves are not needed.
        pass
    return tally.validation(reader)


def _info(tally: Tally, task: str, classes: tuple[str, ...], max_megapixels: float) -> DatasetInfo:
    mean, std = tally.mean_std()
    # The order of these keys is the order in dataset.json, which is part of the dataset's digest.
    extra: dict[str, object] = {"class_counts": tally.class_counts}
    if tally.pixel_counts:
        extra["pixel_counts"] = tally.pixel_counts
    extra["max_megapixels"] = max_megapixels
    return DatasetInfo(
        task=task,
        classes=tuple(classes),
        counts=tally.counts,
        mean=mean,
        std=std,
        source_digest=tally.source_digest,
        extra=extra,
    )


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """Provide a new directory beside ``out`` that takes its place at the end, or is removed on failure."""
    _check_replaceable(out)
    directory = out.with_name(f".{out.name}.partial")
    # One may be left of a prepare that was killed.
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
        shutil.rmtree(out, ignore_errors=True)
        directory.rename(out)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _check_replaceable(out: Path) -> None:
    """Raise RequestError if ``out`` is something of the user's that must not be overwritten."""
    if not out.exists() or (out / FILE).is_file():
        return
    is_empty_folder = out.is_dir() and not any(out.iterdir())
    if not is_empty_folder:
        fix = "Remove it, or name another."
        got = "something else than a prepared dataset"
        raise RequestError(Fault(str(out), got, "a new or empty folder", fix))
