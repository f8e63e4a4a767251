"""A Parquet file of encoded images as the input of batch inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.dataset.row_sources.input_files import file_digest
from cvflow.errors import Fault, RequestError
from cvflow.types import Row

BATCH_ROWS = 64


@dataclass
class ParquetSource:
    """Encoded images in binary columns (or ``{bytes}`` as Hugging Face writes them).

    id = column ``id``, or the row's number if there is no such column.
    """

    path: Path
    images: tuple[str, ...]
    passed_over: Sequence[str] = field(init=False, default=())

    def __post_init__(self) -> None:
        with _naming(self.path):
            metadata = pq.read_metadata(self.path)
            self._names = metadata.schema.to_arrow_schema().names
        self._group_rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        missing = [name for name in self.images if name not in self._names]
        if missing:
            got = f"columns {', '.join(self._names)}"
            raise RequestError(Fault(str(self.path), got, f"a column '{missing[0]}' of encoded images"))

    @property
    def digest(self) -> str:
        """The md5 of the file."""
        return file_digest(self.path)

    def __len__(self) -> int:
        return sum(self._group_rows)

    def ids(self) -> Iterator[str]:
        if "id" not in self._names:
            return map(str, range(len(self)))
        with _naming(self.path):
            column = pq.read_table(self.path, columns=["id"])["id"]
            return map(str, column.to_pylist())

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        group_start = 0
        with _naming(self.path), pq.ParquetFile(self.path) as file:
            for group, count in enumerate(self._group_rows):
                group_stop = group_start + count
                if group_start < stop and group_stop > start:
                    yield from self._rows_of_group(file, group, group_start, start, stop)
                group_start = group_stop

    def ranges(self, size: int) -> list[tuple[int, int]]:
        """Return row groups as ranges, small ones joined.

        A part of a row group cannot be read without all that comes before it in the group.
        """
        start = 0
        ranges = []
        for end in accumulate(self._group_rows):
            is_last = end == len(self)
            if end - start < size and not is_last:
                continue
            if end > start:
                ranges.append((start, end))
            start = end
        return ranges

    def _rows_of_group(
        self, file: pq.ParquetFile, group: int, batch_start: int, start: int, stop: int
    ) -> Iterator[Row]:
        """Yield the rows of one group between ``start`` and ``stop``.

        batch_start: number of the group's first row.
        """
        columns = [name for name in ("id", *self.images) if name in self._names]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns):
            if batch_start >= stop:
                return
            first = max(0, start - batch_start)
            last = min(len(batch), stop - batch_start)
            if first < last:
                rows = batch[first:last].to_pylist()
                for number, row in enumerate(rows, start=batch_start + first):
                    yield self._row(row, number)
            batch_start += len(batch)

    def _row(self, columns: dict[str, Any], number: int) -> Row:
        id = columns.get("id", number)
        row: dict[str, Any] = {"id": str(id)}
        for name in self.images:
            row[name] = _bytes(columns[name])
        return row


def _bytes(value: Any) -> bytes:
    data: bytes = value["bytes"] if isinstance(value, dict) else value
    return data


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what is wrong with a Parquet file into a RequestError that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # Arrow's messages can have several lines; the first one says what is wrong.
        message = str(error)
        got = message.splitlines()[0] if message else type(error).__name__
        fault = Fault(str(path), f"damaged content ({got})", "a Parquet file that is whole")
        raise RequestError(fault) from error
