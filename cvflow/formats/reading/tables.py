"""Rows of a CSV, TSV or Parquet file with the place of each, as a stream."""

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
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class TableRow(NamedTuple):
    """line: as ``labels.csv:12``, or ``labels.parquet row 12``. fault: why the row cannot be read, if so."""

    line: str
    values: Mapping[str, Any]
    fault: str | None = None


class Table:
    """The file ``name`` of a tree. Opening reads its header; each iteration reads it again. RequestError where it is damaged."""

    def __init__(self, tree: Tree, name: str, encoding: str = "utf-8", delimiter: str | None = None) -> None:
        self._tree, self.name = tree, name
        self._parquet = name.lower().endswith(".parquet")
        if self._parquet:
            self.columns = self._parquet_columns()
        else:
            self._encoding, start = self._start(encoding)
            self._delimiter = delimiter or _likely_delimiter(name, start)
            self.columns = self._header()

    def __iter__(self) -> Iterator[TableRow]:
        return self._parquet_rows() if self._parquet else self._text_rows()

    def _fault(self, line: int | None, got: str, expected: str, fix: str = "") -> RequestError:
        return RequestError(Fault(f"{self.name}:{line}" if line else self.name, got, expected, fix))

    def _start(self, encoding: str) -> tuple[str, str]:
        """The encoding and the first line."""
        try:
            with self._tree.open(self.name) as file:
                start = file.readline(100_000)
            found = next((name for bom, name in _BOMS.items() if start.startswith(bom)), encoding)
            return (
                "utf-8-sig" if found.lower().replace("_", "-") in ("utf-8", "utf8") else found
            ), start.decode(found, "replace")
        except LookupError:
            raise RequestError(
                Fault(
                    "data.format.encoding",
                    f"'{encoding}'",
                    "an encoding that Python knows, as utf-8 or cp1252",
                )
            ) from None
        except OSError as error:
            raise self._fault(None, f"unreadable file ({error.strerror or error})", "a table") from error

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(number of its last line, cells) of each record that is not empty."""
        with (
            self._tree.open(self.name) as file,
            TextIOWrapper(file, encoding=self._encoding, newline="") as text,
        ):
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, cells
            except csv.Error as error:
                fix = "A quote within a quoted cell is written twice."
                raise self._fault(
                    reader.line_num, f"broken quoting ({error})", "cells as CSV writes them", fix
                ) from error
            except UnicodeError as error:
                fix = "Save it as UTF-8, or type data.format.encoding=cp1252 or whatever it is in."
                raise self._fault(
                    reader.line_num + 1, f"bytes that are not {self._encoding} here or below", "text", fix
                ) from error

    def _header(self) -> list[str]:
        columns = [cell.strip() for cell in next((cells for _, cells in self._lines()), [])]
        if not columns:
            raise self._fault(None, "an empty file", "a line of column names, then a line for each image")
        self._check(columns)
        return columns

    def _check(self, columns: Sequence[str]) -> None:
        twice = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
        if twice:
            raise self._fault(1, f"two columns '{twice[0]}'", "each column name once")

    def _text_rows(self) -> Iterator[TableRow]:
        lines = self._lines()
        next(lines, None)
        for number, cells in lines:
            fault = (
                None
                if len(cells) == len(self.columns)
                else f"{len(cells)} cells where the header has {len(self.columns)}"
            )
            yield TableRow(
                f"{self.name}:{number}", dict(zip(self.columns, map(str.strip, cells), strict=False)), fault
            )

    def _parquet_columns(self) -> list[str]:
        try:
            with self._tree.open(self.name) as file, pq.ParquetFile(file) as table:
                columns = list(table.schema_arrow.names)
        except (pa.ArrowException, OSError) as error:
            raise self._fault(None, f"no readable Parquet ({error})", "a whole Parquet file") from error
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
            raise self._fault(
                None, f"damaged Parquet after row {number} ({error})", "a whole Parquet file"
            ) from error


def _likely_delimiter(name: str, header: str) -> str:
    if name.lower().endswith((".tsv", ".tab")):
        return "\t"
    return max(",;\t", key=header.count)  # the comma where none is there
