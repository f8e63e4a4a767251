"""Parquet files as Hugging Face datasets write them: an image column of {bytes, path}, and a
ClassLabel column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.annotations.image import ImageFault
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.formats.reading.parquet_cursor import BatchCursor
from cvflow.formats.reading.trees import leads_out
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.registry import register
from cvflow.types import Split

_WORD = re.compile(
    r"(?:^|[-_./ ])(train|training|validation|valid|val|dev|test|testing)(?=$|[-_./ 0-9])", re.IGNORECASE
)
_SPLITS: Mapping[str, Split] = {"train": "train", "training": "train", "test": "test", "testing": "test"}


@register("format", "huggingface")
class HuggingFace(Format):
    """The source is a folder of Parquet files, or one.

    Splits are read off the names, as in data/train-00000-of-00002.parquet.

    image, label: the columns; by default the first of type Image and the first ClassLabel. Rows
    labelled -1 are passed over. Ids are the file's name and the row's number.
    """

    def __init__(self, source: Path | None, *, image: str | None = None, label: str | None = None) -> None:
        self._files = _parquet_files(source)
        self._base = self._files[0].parent if source is None or source.is_file() else source
        schema = _schema(self._files[0])
        features = _features(schema)
        self._image = _column(
            schema,
            image,
            "image",
            [n for n in schema.names if _is_image(schema.field(n).type)],
            ("image", "img"),
        )
        labelled = [n for n in schema.names if "names" in features.get(n, {})]
        integer_columns = [n for n in schema.names if pa.types.is_integer(schema.field(n).type)]
        self._label = _column(
            schema, label, "label", labelled or integer_columns, ("label", "labels", "fine_label")
        )
        for path in self._files:
            _same_columns(path, schema, (self._image, self._label))
        self.classes = tuple(map(str, features.get(self._label, {}).get("names", ()))) or self._found()

    looks_for = "Parquet files with the columns image and label"

    @classmethod
    def guess(cls, source: Path) -> Guess:
        has_parquet = source.suffix == ".parquet" or (source.is_dir() and any(source.rglob("*.parquet")))
        return Guess(Confidence.LIKELY if has_parquet else Confidence.NONE)

    def __iter__(self) -> Iterator[Record]:
        for name, split, row, label, cursor in self._rows():
            if label is not None and 0 <= label < len(self.classes):
                read = partial(_encoded, cursor, row, self._base)
                yield Record(
                    f"{name}:{row}", name, {"image": read}, {"label": label}, split, line=f"row {row + 1}"
                )

    def skipped(self) -> Iterator[tuple[str, str]]:
        for name, _, row, label, _ in self._rows():
            if label is None or not 0 <= label < len(self.classes):
                yield (
                    f"{name} row {row + 1}",
                    "no label" if label in (None, -1) else f"label {label} of {len(self.classes)} classes",
                )

    def _rows(self) -> Iterator[tuple[str, Split | None, int, int | None, BatchCursor]]:
        """(file, split, row, label, where its image comes from); labels alone are read here."""
        for path in self._files:
            name = path.relative_to(self._base).as_posix()
            split = _split_of(name)
            cursor = BatchCursor(path, self._image)
            row = 0
            for batch in _batches(path, self._label):
                for label in batch.column(0).to_pylist():
                    yield name, split, row, label, cursor
                    row += 1

    def _found(self) -> tuple[str, ...]:
        """Classes where the file names none: 0 to the greatest label."""
        greatest = max((label for *_, label, _ in self._rows() if label is not None), default=-1)
        if greatest < 1:
            raise RequestError(
                Fault(str(self._files[0]), f"no two classes in '{self._label}'", "labels 0, 1, ...")
            )
        return tuple(map(str, range(greatest + 1)))


def _encoded(cursor: BatchCursor, row: int, base: Path) -> bytes:
    value = cursor.value(row)
    if isinstance(value, bytes):
        return value
    found = value or {}
    if found.get("bytes") is not None:
        return bytes(found["bytes"])
    if leads_out(found.get("path") or ""):
        raise ImageFault(f"the path '{found['path']}', which leads out of the data")
    if found.get("path"):
        return (base / str(found["path"])).read_bytes()
    raise ImageFault("no image bytes")


def _parquet_files(source: Path | None) -> list[Path]:
    found = (
        []
        if source is None
        else [source]
        if source.suffix == ".parquet" and source.is_file()
        else sorted(source.rglob("*.parquet"))
    )
    if not found:
        got = (
            "nothing"
            if source is None
            else f"'{source}', which holds no Parquet"
            if source.exists()
            else f"'{source}', which does not exist"
        )
        raise RequestError(Fault("data.source", got, "a folder of Parquet files", "Type data.source=<path>."))
    return found


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            Fault(str(path), f"no readable Parquet ({error})", "a whole Parquet file")
        ) from error


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """column -> its description in the metadata that the datasets library adds."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in {kind.field(i).name for i in range(kind.num_fields)}
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column(
    schema: pa.Schema, given: str | None, field: str, fitting: list[str], usual: tuple[str, ...]
) -> str:
    if given is not None and given not in schema.names:
        raise RequestError(
            Fault(
                f"data.format.{field}", f"'{given}'", one_of(schema.names), did_you_mean(given, schema.names)
            )
        )
    found = given or next((name for name in usual if name in fitting), fitting[0] if fitting else None)
    if found is None or (given and given not in fitting):
        what = f"no {field} column" if found is None else f"'{found}', which holds no {field}"
        raise RequestError(
            Fault("data.source", f"{what} among {', '.join(schema.names)}", f"a column of each row's {field}")
        )
    return found


def _same_columns(path: Path, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    file_schema = _schema(path)
    for name in columns:
        if name not in file_schema.names or file_schema.field(name).type != schema.field(name).type:
            got = f"a column '{name}' of another type" if name in file_schema.names else f"no column '{name}'"
            raise RequestError(Fault(str(path), got, "the same columns in each file"))


def _batches(path: Path, column: str) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=8192, columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise RequestError(Fault(str(path), f"damaged Parquet ({error})", "a whole Parquet file")) from error


def _split_of(name: str) -> Split | None:
    found = _WORD.search(name)
    return _SPLITS.get(found[1].lower(), "val") if found else None
