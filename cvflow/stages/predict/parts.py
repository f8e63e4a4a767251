"""Predictions in parts: each written aside and renamed when whole, so that what a kill leaves can
be gone on from.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.engine.infer import ROW
from cvflow.errors import CvflowError

PART_ROWS = 10_000
"""The most rows of the source that a part answers: what is kept in memory."""
PART_SECONDS = 60.0
"""A part is ended after so long, however few its rows are: what a kill can cost."""
PART_BYTES = 2**27
"""A part is ended once its answers are so large in memory: maps are."""
STOP = b"cvflow.stop"
"""In a part's metadata: the number of the first row after those that it answers."""
JOURNAL = "journal.json"


class Parts:
    """``part-00000.parquet``, ... in a folder.

    schema: of the answers, with a column ``row``. total: rows of the source. stamp: columns that
    are the same in every row.
    """

    def __init__(self, folder: Path, schema: pa.Schema, total: int, stamp: Mapping[str, str]) -> None:
        self.folder, self.schema, self.total, self.stamp = folder, schema, total, stamp
        parts = part_files(folder)
        self._count = len(parts)
        self.done = int(pq.read_metadata(parts[-1]).metadata[STOP]) if parts else 0
        """Rows of the source that whole parts answer."""
        self._waiting: list[pa.Table] = []
        self._began = time.monotonic()

    def write(self, tables: Iterable[pa.Table]) -> None:
        """Write the answers to the rows from ``done`` on, in the order of their column ``row``,
        which is not written.
        """
        for table in tables:
            while table is not None:
                table = self._take(table)
        while self.done < self.total:
            self._end_part(min(self.done + PART_ROWS, self.total))

    def _take(self, table: pa.Table) -> pa.Table | None:
        """Keep what belongs to the part that is being made; give the rest, if any."""
        stop = self._stop(table)
        count_here = int(np.searchsorted(table[ROW].to_numpy(), stop))
        if count_here:
            self._waiting.append(table[:count_here])
        if count_here == len(table):
            return None
        self._end_part(stop)
        return table[count_here:]

    def _stop(self, table: pa.Table) -> int:
        """Where the part ends: before this table where its time or memory is over, unless that
        would divide the answers to one row.
        """
        most = self.done + PART_ROWS
        over = (
            time.monotonic() - self._began >= PART_SECONDS
            or sum(waiting.nbytes for waiting in self._waiting) >= PART_BYTES
        )
        if not len(table) or not self._waiting or not over:
            return most
        first, last = int(table[ROW][0].as_py()), int(self._waiting[-1][ROW][-1].as_py())
        return min(first, most) if last < first else most

    def _end_part(self, stop: int) -> None:
        table = pa.concat_tables(self._waiting or [self.schema.empty_table()]).drop_columns(ROW)
        for name, value in self.stamp.items():
            table = table.append_column(name, pa.repeat(value, len(table)))
        table = table.replace_schema_metadata({STOP: str(stop)})
        texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
        aside = self.folder / "part.tmp"
        with aside.open("wb") as file:
            pq.write_table(table, file, use_dictionary=texts)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(self.folder / f"part-{self._count:05d}.parquet")
        self._count, self._waiting = self._count + 1, []
        self.done, self._began = stop, time.monotonic()


def part_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def count(folder: Path) -> tuple[int, int]:
    """(answers, answers with an error) in the parts of a folder."""
    rows = faults = 0
    for part in part_files(folder):
        errors = pq.read_table(part, columns=["error"])["error"]
        rows, faults = rows + len(errors), faults + len(errors) - errors.null_count
    return rows, faults


@contextmanager
def resumable(folder: Path, key: Mapping[str, str]) -> Iterator[str]:
    """Inside, ``folder`` holds the whole parts that were made under the same key, if any; gives
    what else was found there.

    Left by an exception before the first part is whole, the folder is removed. Raises CvflowError
    where another process writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CvflowError(
                f"{folder}: another cvflow predict is writing there; wait for it, or name another --out."
            ) from None
        try:
            yield _begin(folder, key)
        finally:
            if not part_files(folder):
                shutil.rmtree(folder, ignore_errors=True)
            Path(lock.name).unlink(missing_ok=True)


def _begin(folder: Path, key: Mapping[str, str]) -> str:
    """Empty the folder unless its journal has this key; why it was emptied, or nothing."""
    journal = folder / JOURNAL
    try:
        before = json.loads(journal.read_text())
    except (OSError, ValueError):
        before = {}
    if before == key:
        return ""
    parts = len(part_files(folder))
    shutil.rmtree(folder)
    folder.mkdir()
    journal.write_text(json.dumps(key, indent=1))
    changed = [name for name, value in key.items() if before.get(name) != value]
    return (
        f"starting anew: another {' and '.join(changed)} than that of the {parts} parts found"
        if parts
        else ""
    )
