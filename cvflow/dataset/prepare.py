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
    """Write the prepared dataset at ``out``, which appears once it is whole.

    Records with an unreadable image or a wrong annotation are left out and named. RequestError where too little is left to train on.
    """
    with _aside(out) as directory:
        plan = SplitPlan(reader, rule, schema.stratify)
        tally = Tally(reader.classes, schema.stratify, schema.identity)
        writers = {split: ShardWriter(directory, split, schema, shard_mb * 1_000_000) for split in SPLITS}
        for record, split, data in examine(reader, plan, tally, schema, max_megapixels):
            writers[split].add(
                {"id": record.id, "path": record.path, **schema.defaults, **record.annotation, **data}
            )
        shards: dict[str, list[Shard]] = {split: writer.close() for split, writer in writers.items()}
        tally.require_usable(plan.base)
        validation = tally.validation(reader)
        mean, std = tally.mean_std()
        pixels = {"pixel_counts": tally.pixel_counts} if tally.pixel_counts else {}
        extra = {"class_counts": tally.class_counts, **pixels, "max_megapixels": max_megapixels}
        info = DatasetInfo(task, tuple(reader.classes), tally.counts, mean, std, tally.source_digest, extra)
        write_description(directory, Description(info, shards))
    return validation


def inspect(reader: Format, schema: Schema, max_megapixels: float = MAX_MEGAPIXELS) -> Validation:
    """What prepare would find, with nothing written. Records without a given split count for train."""
    tally = Tally(reader.classes, schema.stratify, schema.identity)
    plan = SplitPlan(reader, SplitRule(val=0, test=0), schema.stratify)
    for _ in examine(reader, plan, tally, schema, max_megapixels):
        pass
    return tally.validation(reader)


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A new directory beside ``out`` that takes its place at the end, or goes where the work fails."""
    if out.exists() and not (out / FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        fix = "Remove it, or name another."
        raise RequestError(
            Fault(str(out), "something else than a prepared dataset", "a new or empty folder", fix)
        )
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
