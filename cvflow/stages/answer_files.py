"""The answers in the field's own files, beside Parquet: index PNGs, .flo, whatever the task makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa

from cvflow.engine.infer import ROW
from cvflow.errors import CvflowError
from cvflow.tasks.base import Task, writes_files
from cvflow.types import Prediction

FOLDER = "_files"
"""Readers of Parquet folders pass over what begins with _."""


def filed(tables: Iterable[pa.Table], task: Task, folder: Path) -> Iterator[pa.Table]:
    """The tables; each answer's files are there once its table is given: ``<id><suffix>`` below the folder."""
    wanted = writes_files(task)
    for table in tables:
        for row in table.to_pylist() if wanted else ():
            if row["error"] is None:
                _write(row, task, folder)
        yield table


def _write(row: dict[str, object], task: Task, folder: Path) -> None:
    values = {name: value for name, value in row.items() if name not in (ROW, "id", "error")}
    prediction = Prediction(str(row["id"]), values)
    for suffix, content in task.files(prediction).items():
        path = folder / f"{safe(prediction.id)}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise CvflowError(f"{path}: {error.strerror}") from error


def safe(id: str) -> PurePosixPath:
    """An id as a relative path: its '/' are folders, and none of it leads out of where it is put."""
    parts = (part if part not in ("", ".", "..") else "_" for part in id.replace("\0", "_").split("/"))
    return PurePosixPath(*parts)
