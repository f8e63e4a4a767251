"""A table of images: CSV, TSV or Parquet with the columns path and label, and where wanted split,
weight, id and group.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.formats.reading.split_lists import SPLIT_WORDS
from cvflow.formats.reading.tables import SUFFIXES, Table, TableRow
from cvflow.formats.reading.trees import FolderTree, Tree, leads_out, open_tree
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.registry import register

SHOWN = 20
"""Faults that are named one by one."""
OPTIONAL = ("split", "weight", "id", "group")


class PassedOver(str):
    """Why a row that is not faulty gives no record."""


@register("format", "manifest")
class Manifest(Format):
    """Rows in the table's order.

    The source is the table, or a folder or zip that holds it (then DVC watches the images too).

    file: the table in that folder, needed where there are several. images: folder that the paths
    start from, relative to the table's. path, label, split, weight, id, group: the columns' names.
    An id is the path by default; rows of one group (a person, say) stay in one split. No path may
    lead out of the table's folder, save to where ``images`` is. classes: names in the order of
    integer labels; by default, the labels found. faulty_rows: refuse a table that has any, or leave
    them out. encoding: of CSV. delimiter: found out by default.
    """

    def __init__(
        self,
        source: Path | None,
        *,
        file: str | None = None,
        images: str = ".",
        path: str = "path",
        label: str = "label",
        split: str = "split",
        weight: str = "weight",
        id: str = "id",
        group: str = "group",
        classes: tuple[str, ...] = (),
        faulty_rows: Literal["stop", "leave_out"] = "stop",
        encoding: str = "utf-8",
        delimiter: str | None = None,
    ) -> None:
        self._tree, name = _find(source, file)
        self._table = Table(self._tree, name, encoding, delimiter)
        self._images = "" if images in (".", "") else f"{images.rstrip('/')}/"
        column_of = {
            "path": path,
            "label": label,
            **self.more,
            "split": split,
            "weight": weight,
            "id": id,
            "group": group,
        }
        self._columns = self._known(column_of)
        self.classes, self._given = classes, bool(classes)
        self._twice: dict[int, int] = {}
        self._scan(faulty_rows)
        self._index = {name: i for i, name in enumerate(self.classes)}

    looks_for = "a table (CSV, TSV, JSON lines, Parquet) with the columns path and label"
    fewest = 2
    """Classes that there must be."""
    more: Mapping[str, str] = {}
    """field -> column that a row must have besides."""

    @classmethod
    def guess(cls, source: Path) -> Guess:
        try:
            has_table = source.suffix.lower() in SUFFIXES or bool(tables(open_tree(source, "a table")))
        except RequestError:  # neither folder nor whole zip
            return Guess(Confidence.NONE)
        return Guess(Confidence.LIKELY if has_table else Confidence.NONE)

    def __iter__(self) -> Iterator[Record]:
        for _, outcome in self._checked():
            if isinstance(outcome, Record):
                yield outcome

    def skipped(self) -> Iterator[tuple[str, str]]:
        for row, outcome in self._checked():
            if isinstance(outcome, str):
                yield row.line, self._named(row, outcome)

    def _known(self, column_of: Mapping[str, str]) -> dict[str, str]:
        """field -> column, of the columns that are there."""
        columns = self._table.columns
        faults = [
            Fault(
                f"{self._table.name}:1",
                f"no column '{column}'",
                one_of(columns),
                did_you_mean(column, columns) or f"Type data.format.{field}=<column>.",
            )
            for field, column in column_of.items()
            if column not in columns and (field not in OPTIONAL or column != field)
        ]
        if faults:
            raise RequestError(*faults)
        return {field: column for field, column in column_of.items() if column in columns}

    def _scan(self, faulty_rows: str) -> None:
        """Once over the table: classes, rows that name the same image or id again, and every fault."""
        labels: set[str] = set()
        keys = array("Q")
        self._index = {name: i for i, name in enumerate(self.classes)}
        for row in self._table:
            outcome = self._check(row, lambda name: labels.add(name) or 0)  # type: ignore[func-returns-value]
            if isinstance(outcome, Record):
                keys.extend(keys_of(outcome))
        values, counts = np.unique(np.asarray(keys, dtype=np.uint64), return_counts=True)
        self._twice = dict(zip(values[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True))
        self.classes = self.classes or tuple(sorted(labels, key=_in_order))
        self._index = {name: i for i, name in enumerate(self.classes)}
        wrong = (
            (row, outcome)
            for row, outcome in self._checked()
            if isinstance(outcome, str) and _is_fault(outcome)
        )
        faults = (
            []
            if faulty_rows == "leave_out"
            else [(row.line, self._named(row, outcome)) for row, outcome in wrong]
        )
        if faults:
            fix = "Mend the rows, or type data.format.faulty_rows=leave_out."
            more = (
                [Fault(self._table.name, f"{len(faults) - SHOWN} more such rows", "none", fix)]
                if len(faults) > SHOWN
                else []
            )
            raise RequestError(*(Fault(line, got, "a sound row", fix) for line, got in faults[:SHOWN]), *more)
        if len(self.classes) < self.fewest:
            got = f"{len(self.classes)} classes in '{self._columns['label']}'"
            raise RequestError(
                Fault(self._table.name, got, f"at least {'one' if self.fewest == 1 else 'two'}")
            )

    def _checked(self) -> Iterator[tuple[TableRow, Record | str]]:
        """Each row with its record, or why there is none."""
        seen: dict[int, str] = {}
        for row in self._table:
            outcome = self._check(row, lambda name: self._index.get(name, -1))
            if isinstance(outcome, Record):
                outcome = self._first_of_its_kind(outcome, row, seen)
            yield row, outcome

    def _named(self, row: TableRow, why: str) -> str:
        """Why the row gives no record; of a faulty one with its id, where it has one."""
        cells = [
            _text(row.values.get(self._columns[field])) for field in ("id", "path") if field in self._columns
        ]
        id = next(filter(None, cells), "")
        return f"{why} (id {id})" if id and _is_fault(why) else why

    def _first_of_its_kind(self, record: Record, row: TableRow, seen: dict[int, str]) -> Record | str:
        for what, key in zip(("path", "id"), keys_of(record), strict=False):
            if key in seen:
                return (
                    f"the {what} '{record.path if what == 'path' else record.id}' again: it is in {seen[key]}"
                )
        seen.update((key, row.line) for key in keys_of(record) if key in self._twice)
        return record

    def _check(self, row: TableRow, index: Callable[[str], int]) -> Record | str:
        """The record, or what is wrong with the row. index: of a class name."""
        if row.fault:
            return row.fault
        cells = {field: _text(row.values.get(column)) for field, column in self._columns.items()}
        if not cells["path"] or not cells["label"]:
            return "an empty path" if not cells["path"] else "an empty label"
        label = self._class_name(cells["label"])
        if label is None:
            return (
                f"label '{cells['label']}', not {one_of(self.classes)}. "
                f"{did_you_mean(cells['label'], self.classes)}".strip()
            )
        split = SPLIT_WORDS.get(cells.get("split", "").lower())
        if split is None and cells.get("split"):
            return f"split '{cells['split']}', not train, val or test"
        weight = _weight(cells.get("weight", ""))
        if isinstance(weight, str):
            return weight
        path = f"{self._images}{cells['path']}"
        if leads_out(path, self._images):
            return f"the path '{path}', which leads out of the data"
        more = self._more(cells, path)
        if isinstance(more, str):
            return more
        annotation = {"label": index(label), **({} if weight is None else {"weight": weight}), **more}
        read = {"image": partial(self._tree.read, path)}
        return Record(
            cells.get("id") or cells["path"],
            path,
            read,
            annotation,
            split,
            cells.get("group") or None,
            row.line,
        )

    def _more(self, cells: Mapping[str, str], path: str) -> Mapping[str, Any] | str:
        """What else the row's annotation holds, or what is wrong with it."""
        return {}

    def _class_name(self, label: str) -> str | None:
        if not self._given or label in self._index:
            return label
        return self.classes[int(label)] if label.isdecimal() and int(label) < len(self.classes) else None


def _is_fault(outcome: Record | str) -> bool:
    return isinstance(outcome, str) and not isinstance(outcome, PassedOver)


def _find(source: Path | None, file: str | None) -> tuple[Tree, str]:
    """The tree that the paths start from, and the table in it."""
    if source is not None and source.is_file() and source.suffix.lower() in SUFFIXES:
        return FolderTree(source.parent), source.name
    tree = open_tree(source, f"a table ({', '.join(SUFFIXES)}), a folder that holds one")
    outcome = [file] if file else tables(tree)
    if len(outcome) != 1:
        got = "several tables: " + ", ".join(outcome[:5]) if outcome else "no table"
        fix = f"Type data.format.file={outcome[0]} or another." if outcome else ""
        raise RequestError(Fault(str(source), got, f"one of {', '.join(SUFFIXES)}", fix))
    return tree, outcome[0]


def tables(tree: Tree) -> list[str]:
    return [
        entry.path
        for entry in tree.entries("")
        if entry.kind == "file" and entry.name.lower().endswith(SUFFIXES)
    ]


def _text(value: Any) -> str:
    """A cell as text: 3.0 is the label 3 where a column of integers has gaps."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _weight(text: str) -> float | str | None:
    """None where there is none; what is wrong, in words."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return f"weight '{text}', not a number"
    return (
        value if math.isfinite(value) and value >= 0 else f"weight {text}, not a finite number of 0 or more"
    )


def keys_of(record: Record) -> list[int]:
    """Hashes of path and id; one where they are the same thing."""
    kinds = [f"path {record.path}"] + ([f"id {record.id}"] if not record.path.endswith(record.id) else [])
    return [
        int.from_bytes(
            hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"
        )
        for text in kinds
    ]


def _in_order(name: str) -> tuple[bool, int, str]:
    """Integers by value, then names."""
    number = name.removeprefix("-").isdecimal()
    return (not number, int(name) if number else 0, name)
