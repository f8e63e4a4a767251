"""Values of one Parquet column by row number, for readers that go forward: few batches are in memory at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 64
KEPT = 8
"""Batches that stay, for the threads that are a little behind."""


class BatchCursor:
    """A row behind what is kept starts the file again. Raises OSError where it is damaged."""

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._lock = Lock()
        self._kept: OrderedDict[int, pa.Array] = OrderedDict()
        self._next = 0
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def value(self, row: int) -> Any:
        """The row's value as Python data."""
        with self._lock:
            number, offset = divmod(row, BATCH_ROWS)
            if number not in self._kept:
                self._forward(number)
            return self._kept[number][offset].as_py()

    def _forward(self, number: int) -> None:
        if number < self._next or self._next == 0:
            self._batches, self._next = self._read(), 0
            self._kept.clear()
        while self._next <= number:
            try:
                batch = next(self._batches)
            except (pa.ArrowException, StopIteration) as error:
                self._next = 0
                raise OSError(None, f"damaged Parquet ({error})", str(self._path)) from error
            self._kept[self._next] = batch.column(0)
            self._next += 1
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _read(self) -> Iterator[pa.RecordBatch]:
        """Batches of BATCH_ROWS each, over the borders of row groups."""
        with pq.ParquetFile(self._path, memory_map=True) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=[self._column])
