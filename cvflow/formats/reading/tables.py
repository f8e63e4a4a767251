"""Rows of a CSV, TSV or Parquet file as a stream, each with its line or number."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from io import TextIOWrapper
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.trees import Tree

SUFFIXES = (".csv", ".tsv", ".tab", ".parquet")
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_HEADER = 100_000
"""Bytes of the first line that are looked at for the delimiter."""


class TableRow(NamedTuple):
    """A row.

    line: as ``labels.csv:12``, or ``labels.parquet row 12``. fault: why the row cannot be read, if it
    cannot.
    """

    line: str
    values: Mapping[str, Any]
    fault: str | None = None


class Table:
    """The file ``name`` of a tree. Opening it reads the header; each iteration reads the file again.

    RequestError if it is damaged.
    """

    def __init__(self, tree: Tree, name: str, encoding: str = "utf-8", delimiter: str | None = None) -> None:
        self._tree = tree
        self.name = name
        self._parquet = name.lower().endswith(".parquet")
        if self._parquet:
            self.columns = self._parquet_columns()
        else:
            start = self._first_line()
            self._encoding = _encoding_of(start, encoding)
            header = self._decoded(start, encoding)
            self._delimiter = delimiter or _likely_delimiter(name, header)
            self.columns = self._header()

    def __iter__(self) -> Iterator[TableRow]:
        return self._parquet_rows() if self._parquet else self._text_rows()

    def _fault(self, line: int | None, got: str, expected: str, fix: str = "") -> RequestError:
        place = f"{self.name}:{line}" if line else self.name
        return RequestError(Fault(place, got, expected, fix))

    def _first_line(self) -> bytes:
        try:
            with self._tree.open(self.name) as file:
                return file.readline(_LONGEST_HEADER)
        except OSError as error:
            reason = error.strerror or error
            raise self._fault(None, f"unreadable file ({reason})", "a table") from error

    def _decoded(self, start: bytes, encoding: str) -> str:
        try:
            return start.decode(self._encoding, "replace")
        except LookupError:
            expected = "an encoding that Python knows, as utf-8 or cp1252"
            fault = Fault("data.format.encoding", f"'{encoding}'", expected)
            raise RequestError(fault) from None

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of its last line, cells) of each record that is not empty."""
        with (
            self._tree.open(self.name) as file,
            TextIOWrapper(file, encoding=self._encoding, newline="") as text,
        ):
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                for cells in reader:
                    if any(map(str.strip, cells)):
                        yield reader.line_num, cells
            except csv.Error as error:
                got = f"broken quoting ({error})"
                fix = "A quote within a quoted cell is written twice."
                raise self._fault(reader.line_num, got, "cells as CSV writes them", fix) from error
            except UnicodeError as error:
                got = f"bytes that are not {self._encoding} here or below"
                fix = "Save it as UTF-8, or type data.format.encoding=cp1252 or whatever it is in."
                raise self._fault(reader.line_num + 1, got, "text", fix) from error

    def _header(self) -> list[str]:
        for _, cells in self._lines():
            columns = list(map(str.strip, cells))
            self._check(columns)
            return columns
        expected = "a line of column names, then a line for each image"
        raise self._fault(None, "an empty file", expected)

    def _check(self, columns: Sequence[str]) -> None:
        """Raise RequestError if a column is there twice."""
        for name in columns:
            if columns.count(name) > 1:
                raise self._fault(1, f"two columns '{name}'", "each column name once")

    def _text_rows(self) -> Iterator[TableRow]:
        lines = self._lines()
        # The header.
        next(lines, None)
        count = len(self.columns)
        for number, cells in lines:
            values = dict(zip(self.columns, map(str.strip, cells), strict=False))
            fault = None
            if len(cells) != count:
                fault = f"{len(cells)} cells where the header has {count}"
            yield TableRow(f"{self.name}:{number}", values, fault)

    def _parquet_columns(self) -> list[str]:
        try:
            with self._tree.open(self.name) as file, pq.ParquetFile(file) as table:
                columns = list(table.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            got = f"no readable Parquet ({error})"
            raise self._fault(None, got, "a whole Parquet file") from error
        self._check(columns)
        return columns

    def _parquet_rows(self) -> Iterator[TableRow]:
        number = 0
        try:
            with self._tree.open(self.name) as file, pq.ParquetFile(file) as table:
                for batch in table.iter_batches(batch_size=1024):
                    for values in batch.to_pylist():
                        number += 1
                        yield TableRow(f"{self.name} row {number}", values)
        except (pa.ArrowException, OSError) as error:
            got = f"damaged Parquet after row {number} ({error})"
            raise self._fault(None, got, "a whole Parquet file") from error


def _encoding_of(start: bytes, encoding: str) -> str:
    """Return the encoding of a file that starts so. encoding: what it is without a byte order mark."""
    if start.startswith(_UTF16_MARKS):
        return "utf-16"
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        # It reads files with a byte order mark, and those without.
        return "utf-8-sig"
    return encoding


def _likely_delimiter(name: str, header: str) -> str:
    if name.lower().endswith((".tsv", ".tab")):
        return "\t"
    # A comma if there is none of them.
    return max(",;\t", key=header.count)
