"""The answers in the field's own files, beside Parquet: index PNGs, .flo, whatever an answer is
written as.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.answers.base import Answer, writes_files
from cvflow.engine.infer import ROW
from cvflow.errors import CvflowError
from cvflow.types import Prediction

FOLDER = "_files"
"""Readers of Parquet folders pass over what begins with _."""

Name = Callable[[str], PurePosixPath]
"""An id -> the path of its files, without a suffix."""


def filed(
    tables: Iterable[pa.Table], answer: Answer, ids: Callable[[], Iterable[str]], folder: Path
) -> Iterator[pa.Table]:
    """Yield the tables; once a table is yielded, its answers' files ``<name><suffix>`` are in the folder.

    ids: returns the ids of all rows.
    """
    if not writes_files(answer):
        yield from tables
        return
    name = naming(ids())
    for table in tables:
        for row in table.to_pylist():
            if row["error"] is None:
                _write(row, answer, folder, name)
        yield table


def naming(ids: Iterable[str]) -> Name:
    """Return the naming of files: an id less the suffix of an image, as the field's tools look for answers.

    The suffix stays if another id would have the same name without it.
    """
    id_counts = Counter(ids)
    stem_counts = Counter(map(stem, id_counts))

    def name(id: str) -> PurePosixPath:
        short = stem(id)
        is_unique = stem_counts[short] <= 1 and short not in id_counts
        return safe(short if is_unique else id)

    return name


def stem(id: str) -> str:
    """Return the id without the suffix of an image."""
    short, _, suffix = id.rpartition(".")
    is_image = f".{suffix.lower()}" in IMAGE_SUFFIXES
    return short if is_image and short.rpartition("/")[2] else id


def _write(row: dict[str, object], answer: Answer, folder: Path, name: Name) -> None:
    values = {column: value for column, value in row.items() if column not in (ROW, "id", "error")}
    prediction = Prediction(str(row["id"]), values)
    for suffix, content in answer.files(prediction).items():
        path = folder / f"{name(prediction.id)}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise CvflowError(f"{path}: {error.strerror}") from error


def safe(id: str) -> PurePosixPath:
    """Return an id as a relative path: its '/' are folders, and none of it leads out of where it is put."""
    parts = []
    for part in id.replace("\0", "_").split("/"):
        parts.append("_" if part in ("", ".", "..") else part)
    return PurePosixPath(*parts)
