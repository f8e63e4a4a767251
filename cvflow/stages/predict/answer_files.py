"""The answers in the field's own files, beside Parquet: index PNGs, .flo, whatever the task makes of them."""

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


def filed(
    tables: Iterable[pa.Table], answer: Answer, ids: Callable[[], Iterable[str]], folder: Path
) -> Iterator[pa.Table]:
    """The tables; each answer's files are there once its table is given: ``<name><suffix>`` below the folder. ids: of all rows."""
    wanted = writes_files(answer)
    name = naming(ids()) if wanted else safe
    for table in tables:
        for row in table.to_pylist() if wanted else ():
            if row["error"] is None:
                _write(row, answer, folder, name)
        yield table


def naming(ids: Iterable[str]) -> Name:
    """Id -> path: less the suffix of an image, as the field's tools look for answers, but where another would have the same then."""
    known = Counter(ids)
    stems = Counter(map(stem, known))

    def name(id: str) -> PurePosixPath:
        short = stem(id)
        return safe(short if stems[short] <= 1 and short not in known else id)

    return name


def stem(id: str) -> str:
    short, _, suffix = id.rpartition(".")
    return short if f".{suffix.lower()}" in IMAGE_SUFFIXES and short.rpartition("/")[2] else id


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
    """An id as a relative path: its '/' are folders, and none of it leads out of where it is put."""
    parts = (part if part not in ("", ".", "..") else "_" for part in id.replace("\0", "_").split("/"))
    return PurePosixPath(*parts)
