"""The answers that evaluate gave to a split, kept for predict: the split is answered once for both.

They lie beside the run's resumable state, outside DVC. Where they are missing, incomplete or of
another request, predict runs the model itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.engine.infer import ROW
from cvflow.registry import Component
from cvflow.types import Prediction

KEY = "key.json"
"""Says what was answered; written last, so that a folder without it is not whole."""


class AnswerKeeper:
    """Writes the answers of each batch into a folder. Crosses to other processes.

    schema: of the tables, with ``row``, ``id``, ``error`` and the answer's columns.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.schema = schema

    def __call__(self, batch: int, predictions: Sequence[Prediction]) -> None:
        """Write a batch. batch: its number in the split, over all ranks."""
        rows = [{"id": prediction.id, "error": None, **prediction.values} for prediction in predictions]
        table = pa.Table.from_pylist(rows, schema=self.schema)
        pq.write_table(table, self.folder / f"batch-{batch:08d}.parquet")


def emptied(folder: Path) -> Path:
    """Return the folder, made anew and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def request_key(model: str, data: str, split: str, views: Sequence[Component]) -> dict[str, object]:
    """Return what answers depend on. model, data: digests."""
    looks = [view.model_dump(mode="json") for view in views]
    return {"model": model, "data": data, "split": split, "views": looks}


def complete(folder: Path, key: Mapping[str, object]) -> None:
    """Say that the folder holds all answers to this request."""
    (folder / KEY).write_text(json.dumps(key))


def evaluated_answers(folder: Path, key: Mapping[str, object], num_rows: int) -> list[Path]:
    """Return the files with the answers to this request, in order; none if they are not all here."""
    try:
        is_same = json.loads((folder / KEY).read_text()) == key
    except (OSError, ValueError):
        return []
    files = sorted(folder.glob("batch-*.parquet"))
    if not is_same or sum(pq.read_metadata(file).num_rows for file in files) != num_rows:
        return []
    return files


def numbered_tables(files: Sequence[Path], first: int) -> Iterator[pa.Table]:
    """Yield the answers to the rows from ``first`` on, each with its row's number."""
    start = 0
    for file in files:
        table = pq.read_table(file)
        numbers = pa.array(range(start, start + len(table)), pa.int64())
        numbered = table.set_column(table.schema.get_field_index(ROW), ROW, numbers)
        skipped = min(max(first - start, 0), len(table))
        start += len(table)
        if skipped < len(table):
            yield numbered.slice(skipped)
