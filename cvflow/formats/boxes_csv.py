"""A table of boxes: CSV, TSV or Parquet with the columns path, label, xmin, ymin, xmax and ymax;
one object an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from cvflow.annotations.image import ImageFault, size_of
from cvflow.errors import Fault, RequestError
from cvflow.formats.manifest import Manifest, PassedOver, keys_of, tables
from cvflow.formats.reading.tables import SUFFIXES, Table, TableRow
from cvflow.formats.reading.trees import FolderTree, open_tree
from cvflow.formats.record import Confidence, Guess, Record
from cvflow.registry import register

EDGES = ("xmin", "ymin", "xmax", "ymax")
USUAL = {
    "path": ("path", "filename", "file_name", "file", "image", "image_path"),
    "label": ("label", "class", "class_name", "name"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
}
"""What the columns are called, in any case."""
_SIZES = 1 << 16


@register("format", "boxes_csv")
class BoxesCsv(Manifest):
    """A manifest whose rows have a box as well: left, top, right and bottom edge in pixels of the
    upright image; xmax - xmin is its width.

    An image in several rows, that is with several objects, is passed over. xmin, ymin, xmax, ymax:
    the columns' names. normalised: the edges are fractions of the width and height. The other
    options are those of manifest.
    """

    gives = frozenset({"label", "box"})
    looks_for = "a table with the columns path, label, xmin, ymin, xmax, ymax"
    fewest = 1

    def __init__(
        self,
        source: Path | None,
        *,
        file: str | None = None,
        images: str = ".",
        path: str = "path",
        label: str = "label",
        xmin: str = "xmin",
        ymin: str = "ymin",
        xmax: str = "xmax",
        ymax: str = "ymax",
        normalised: bool = False,
        split: str = "split",
        weight: str = "weight",
        id: str = "id",
        group: str = "group",
        classes: tuple[str, ...] = (),
        faulty_rows: Literal["stop", "leave_out"] = "stop",
        encoding: str = "utf-8",
        delimiter: str | None = None,
    ) -> None:
        self.more = dict(zip(EDGES, (xmin, ymin, xmax, ymax), strict=True))
        self._normalised, self._greatest = normalised, 0.0
        self._size = lru_cache(_SIZES)(self._read_size)
        columns = {"path": path, "label": label, "split": split, "weight": weight, "id": id, "group": group}
        rest = {"classes": classes, "faulty_rows": faulty_rows, "encoding": encoding, "delimiter": delimiter}
        super().__init__(source, file=file, images=images, **columns, **rest)  # type: ignore[arg-type]
        if not normalised and 0 < self._greatest <= 1:
            got, fix = f"boxes of at most {self._greatest:g}", "Type data.format.normalised=true."
            raise RequestError(Fault(self._table.name, got, "pixels", fix))
        labels = {record.annotation["label"] for record in self}
        if not labels:
            raise RequestError(
                Fault(self._table.name, "no image in one row alone", "images with exactly one object")
            )
        if not classes:
            self.classes = tuple(name for i, name in enumerate(self.classes) if i in labels)
            self._index = {name: i for i, name in enumerate(self.classes)}

    @classmethod
    def guess(cls, source: Path) -> Guess:
        try:
            alone = source.suffix.lower() in SUFFIXES
            tree = FolderTree(source.parent) if alone else open_tree(source, "a table")
            (name,) = [source.name] if alone else tables(tree)
            columns = {column.lower(): column for column in Table(tree, name).columns}
        except (RequestError, ValueError):  # no table, or several
            return Guess(Confidence.NONE)
        options: dict[str, str] = {}
        missing: list[str] = []
        for field, usual in USUAL.items():
            column = next((columns[name] for name in usual if name in columns), None)
            if column is None:
                missing.append(field)
            elif column != field:
                options[field] = column
        if not missing:
            return Guess(Confidence.CERTAIN, options)
        if set(missing) < set(EDGES):
            return Guess(Confidence.NONE, near_miss=f"{name} has no column for {', '.join(missing)}")
        return Guess(Confidence.NONE)

    def _first_of_its_kind(self, record: Record, row: TableRow, seen: dict[int, str]) -> Record | str:
        count = self._twice.get(keys_of(record)[0], 1)
        return (
            PassedOver(f"one of {count} objects in {record.path}")
            if count > 1
            else super()._first_of_its_kind(record, row, seen)
        )

    def _more(self, cells: Mapping[str, str], path: str) -> Mapping[str, Any] | str:
        edges = [_number(cells[edge]) for edge in EDGES]
        wrong = [f"{edge} '{cells[edge]}'" for edge, value in zip(EDGES, edges, strict=True) if value is None]
        if wrong:
            return f"{', '.join(wrong)}, not a number"
        box = [value or 0.0 for value in edges]
        self._greatest = max(self._greatest, *box)
        if not self._normalised:
            return {"box": box}
        if min(box) < 0 or max(box) > 1:
            return f"a box {box}, outside 0 to 1"
        size = self._size(path)
        return (
            size
            if isinstance(size, str)
            else {"box": [edge * side for edge, side in zip(box, (*size, *size), strict=True)]}
        )

    def _read_size(self, path: str) -> tuple[int, int] | str:
        try:
            return size_of(self._tree.read(path))
        except (ImageFault, OSError, ValueError) as error:
            return f"an image without a size: {getattr(error, 'strerror', None) or error}"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
