"""Rows in Arrow IPC files: written as a stream, read at random through a memory map.

Columns: ``id``, ``path``, one binary column per image name, the annotation columns of the schema. A shard's
record batches hold BATCH_ROWS rows each (the last fewer), so the batch of a row follows by division and
nothing else is read.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from cvflow.errors import Fault, RequestError, one_of
from cvflow.types import Row, Schema

BATCH_ROWS = 32
MAX_OPEN = 256
"""Shards that one reader keeps open; each costs a file handle."""


@dataclass(frozen=True)
class Shard:
    """One shard file, as dataset.json lists it. bytes: file size; sha256: hexadecimal."""

    file: str
    rows: int
    sha256: str
    bytes: int


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return the columns of a shard. Raises ValueError on an unknown type name."""
    columns = {"id": pa.string(), "path": pa.string()}
    for image in schema.images:
        columns[image] = pa.binary()
    for name, type_name in schema.annotations.items():
        columns[name] = arrow_type(type_name)
    return pa.schema(columns)


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type of ``int32``, ``list<float>``, ... Raises ValueError on an unknown name."""
    if name.startswith("list<") and name.endswith(">"):
        element = name.removeprefix("list<").removesuffix(">")
        return pa.list_(arrow_type(element))
    return pa.type_for_alias(name)


class ShardWriter:
    """Writes the rows of one split; a new shard is begun once one has reached ``shard_bytes``.

    Files are named after their content: ``<split>-<number>-<sha256, 16 digits>.arrow``.
    """

    def __init__(self, directory: Path, split: str, schema: Schema, shard_bytes: int) -> None:
        self.shards: list[Shard] = []
        self._directory = directory
        self._split = split
        self._limit = shard_bytes
        self._schema = arrow_schema(schema)
        # A shard gets its name once its content is complete.
        self._aside = directory / f".{split}.arrow.tmp"
        self._rows: list[Row] = []
        self._written = 0  # rows in the open shard
        self._file: pa.OSFile | None = None

    def add(self, row: Row) -> None:
        """Write a row; a record batch goes to the file once it is full."""
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._flush()
            if self._file.tell() >= self._limit:  # type: ignore[union-attr]  # flush opened it
                self._end_shard()

    def close(self) -> list[Shard]:
        """Finish the last shard and return the list of all."""
        self._flush()
        self._end_shard()
        return self.shards

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            self._file = pa.OSFile(str(self._aside), "wb")
            self._stream = pa.ipc.new_file(self._file, self._schema)
        batch = pa.RecordBatch.from_pylist(self._rows, schema=self._schema)
        self._stream.write_batch(batch)
        self._written += len(self._rows)
        self._rows = []

    def _end_shard(self) -> None:
        if self._file is None:
            return
        self._stream.close()
        self._file.close()
        with self._aside.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._aside.stat().st_size
        name = f"{self._split}-{len(self.shards):05d}-{digest[:16]}.arrow"
        self.shards.append(Shard(name, self._written, digest, size))
        self._aside.rename(self._directory / name)
        self._file = None
        self._written = 0


class ShardReader:
    """The rows of one split as a sequence.

    Files are opened on first use, so it crosses to other processes cheaply.
    """

    def __init__(self, directory: Path, shards: Sequence[Shard]) -> None:
        self._directory = directory
        self._shards = tuple(shards)
        self._ends = list(accumulate(shard.rows for shard in shards))
        self._open: dict[int, pa.ipc.RecordBatchFileReader] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        start = self._ends[number] - self._shards[number].rows
        batch_number, position = divmod(index - start, BATCH_ROWS)
        batch = self._reader(number).get_batch(batch_number)
        # Training reads its rows here: only the one element of each column is converted.
        row = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            row[name] = column[position].as_py()
        return row

    def __getstate__(self) -> Mapping[str, Any]:
        # A memory map cannot be pickled; the other process opens its own.
        return {**vars(self), "_open": {}}

    def column(self, name: str) -> list[Any]:
        """Return one annotation column of every row. Raises RequestError if there is no such column."""
        values = []
        for batch in self._batches():
            values += _column(batch, name)
        return values

    def rows(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[Row]:
        """Yield some columns of consecutive rows, read a record batch at a time."""
        for number, shard_end in enumerate(self._ends):
            shard_start = shard_end - self._shards[number].rows
            # Positions within the shard from here on.
            low = max(start, shard_start) - shard_start
            high = min(stop, shard_end) - shard_start
            first_batch = low - low % BATCH_ROWS
            for batch_start in range(first_batch, high, BATCH_ROWS):
                batch = self._reader(number).get_batch(batch_start // BATCH_ROWS)
                first = max(0, low - batch_start)
                last = high - batch_start
                yield from batch.select(columns)[first:last].to_pylist()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number in range(len(self._shards)):
            reader = self._reader(number)
            yield from map(reader.get_batch, range(reader.num_record_batches))

    def _reader(self, number: int) -> pa.ipc.RecordBatchFileReader:
        """Return the open file of a shard, closing the one opened longest ago if there are too many."""
        if number not in self._open:
            if len(self._open) >= MAX_OPEN:
                oldest = next(iter(self._open))
                del self._open[oldest]
            self._open[number] = self._open_shard(self._shards[number])
        return self._open[number]

    def _open_shard(self, shard: Shard) -> pa.ipc.RecordBatchFileReader:
        path = self._directory / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size != shard.bytes:
            got = "no file" if size is None else f"{size} bytes"
            fix = "Restore it with 'dvc checkout', or run prepare again."
            raise RequestError(Fault(str(path), got, f"{shard.bytes} bytes", fix))
        options = pa.ipc.IpcReadOptions(use_threads=False)
        return pa.ipc.open_file(pa.memory_map(str(path)), options=options)


def _column(batch: pa.RecordBatch, name: str) -> list[Any]:
    names = batch.schema.names
    if name not in names:
        raise RequestError(Fault("the prepared dataset", f"no column '{name}'", one_of(names)))
    values: list[Any] = batch.column(name).to_pylist()
    return values
