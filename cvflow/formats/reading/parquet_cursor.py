"""Values of one Parquet column by row number, for readers that go forward.

Only a few batches are in memory at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 64
MOST_BATCHES = 8
"""Batches in memory, for the threads that are a little behind."""


class BatchCursor:
    """Values of a column. A row before the batches in memory makes it read the file from the start again.

    Raises OSError if the file is damaged.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path = path
        self._column = column
        self._lock = Lock()
        self._batches: OrderedDict[int, pa.Array] = OrderedDict()
        self._next = 0
        self._following: Iterator[pa.RecordBatch] = iter(())

    def value(self, row: int) -> Any:
        """Return the row's value as Python data."""
        number, offset = divmod(row, BATCH_ROWS)
        with self._lock:
            if number not in self._batches:
                self._forward(number)
            return self._batches[number][offset].as_py()

    def _forward(self, number: int) -> None:
        """Read on up to a batch."""
        if number < self._next or self._next == 0:
            self._restart()
        while self._next <= number:
            self._batches[self._next] = self._read_next()
            self._next += 1
            if len(self._batches) > MOST_BATCHES:
                self._batches.popitem(last=False)

    def _restart(self) -> None:
        self._following = self._read()
        self._next = 0
        self._batches.clear()

    def _read_next(self) -> pa.Array:
        try:
            return next(self._following).column(0)
        except (pa.ArrowException, StopIteration) as error:
            # The next value asked for starts the file again.
            self._next = 0
            raise OSError(None, f"damaged Parquet ({error})", str(self._path)) from error

    def _read(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of BATCH_ROWS each, over the borders of row groups."""
        with pq.ParquetFile(self._path, memory_map=True) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=[self._column])
