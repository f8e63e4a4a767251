"""Rows in Arrow IPC files: written as a stream, read at random through a memory map.

Columns: ``id``, ``path``, one binary column per image name, the annotation columns of the schema. A shard's record
batches hold BATCH_ROWS rows each (the last fewer), so a row is found by division and nothing else is touched.
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
    """The columns of a shard. Raises ValueError on an unknown type name."""
    columns = {"id": pa.string(), "path": pa.string(), **dict.fromkeys(schema.images, pa.binary())}
    return pa.schema({**columns, **{k: arrow_type(v) for k, v in schema.annotations.items()}})


def arrow_type(name: str) -> pa.DataType:
    """``int32``, ``list<float>``, ... as Arrow has them. Raises ValueError on an unknown name."""
    if name.startswith("list<") and name.endswith(">"):
        return pa.list_(arrow_type(name[5:-1]))
    return pa.type_for_alias(name)


class ShardWriter:
    """Writes the rows of one split; a new shard is begun once one has reached ``shard_bytes``.

    Files are named after their content: ``<split>-<number>-<sha256, 16 digits>.arrow``.
    """

    def __init__(self, directory: Path, split: str, schema: Schema, shard_bytes: int) -> None:
        self.shards: list[Shard] = []
        self._directory, self._split, self._limit = directory, split, shard_bytes
        self._schema = arrow_schema(schema)
        self._aside = directory / f".{split}.arrow.tmp"
        self._rows: list[Row] = []
        self._written = 0  # rows in the open shard
        self._file: pa.OSFile | None = None

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == BATCH_ROWS:
            self._flush()
            if self._file.tell() >= self._limit:  # type: ignore[union-attr]  # flush opened it
                self._end_shard()

    def close(self) -> list[Shard]:
        """Finish the last shard; the list of all."""
        self._flush()
        self._end_shard()
        return self.shards

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            self._file = pa.OSFile(str(self._aside), "wb")
            self._stream = pa.ipc.new_file(self._file, self._schema)
        self._stream.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._written += len(self._rows)
        self._rows = []

    def _end_shard(self) -> None:
        if self._file is None:
            return
        self._stream.close()
        self._file.close()
        with self._aside.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"{self._split}-{len(self.shards):05d}-{digest[:16]}.arrow"
        self.shards.append(Shard(name, self._written, digest, self._aside.stat().st_size))
        self._aside.rename(self._directory / name)
        self._file, self._written = None, 0


class ShardReader:
    """The rows of one split as a sequence. Opens files on first use, so it crosses to other processes cheaply."""

    def __init__(self, directory: Path, shards: Sequence[Shard]) -> None:
        self._directory, self._shards = directory, tuple(shards)
        self._ends = list(accumulate(s.rows for s in shards))
        self._open: dict[int, pa.ipc.RecordBatchFileReader] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        start = self._ends[number] - self._shards[number].rows
        batch_index, row = divmod(index - start, BATCH_ROWS)
        batch = self._reader(number).get_batch(batch_index)
        return {
            name: column[row].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }

    def column(self, name: str) -> list[Any]:
        """One annotation column of every row; RequestError where there is no such column."""
        return [value for batch in self._batches() for value in _column(batch, name)]

    def rows(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[Row]:
        """Some columns of consecutive rows, read a record batch at a time."""
        for number, end in enumerate(self._ends):
            first = end - self._shards[number].rows
            low, high = max(start, first) - first, min(stop, end) - first
            for at in range(low - low % BATCH_ROWS, high, BATCH_ROWS):
                batch = self._reader(number).get_batch(at // BATCH_ROWS).select(columns)
                yield from batch[max(0, low - at) : high - at].to_pylist()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number in range(len(self._shards)):
            reader = self._reader(number)
            yield from map(reader.get_batch, range(reader.num_record_batches))

    def __getstate__(self) -> Mapping[str, Any]:
        return {**vars(self), "_open": {}}

    def _reader(self, number: int) -> pa.ipc.RecordBatchFileReader:
        if number not in self._open:
            if len(self._open) >= MAX_OPEN:
                del self._open[next(iter(self._open))]
            self._open[number] = self._opened(self._shards[number])
        return self._open[number]

    def _opened(self, shard: Shard) -> pa.ipc.RecordBatchFileReader:
        path = self._directory / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size != shard.bytes:
            got = "no file" if size is None else f"{size} bytes"
            raise RequestError(
                Fault(
                    str(path),
                    got,
                    f"{shard.bytes} bytes",
                    "Restore it with 'dvc checkout', or run prepare again.",
                )
            )
        return pa.ipc.open_file(pa.memory_map(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))


def _column(batch: pa.RecordBatch, name: str) -> list[Any]:
    if name not in batch.schema.names:
        raise RequestError(Fault("the prepared dataset", f"no column '{name}'", one_of(batch.schema.names)))
    values: list[Any] = batch.column(name).to_pylist()
    return values
