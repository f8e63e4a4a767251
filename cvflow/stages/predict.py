"""predict: a model's answers to a folder, a prepared dataset or Parquet, as Parquet with model version and data hash."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.config import Compute
from cvflow.data.sources import RowSource, open_source
from cvflow.engine.export import read_model
from cvflow.engine.infer import Predictor, to_table
from cvflow.errors import Fault, RequestError
from cvflow.stages.run import Run

PART_ROWS = 50_000


@dataclass(frozen=True)
class Written:
    """What a prediction left: its folder, rows in all, and rows whose image could not be read."""

    path: Path
    rows: int
    faults: int


def predict(run: Run) -> None:
    """Write ``runs/<name>/predictions``: the registered version's answers to the recipe's split."""
    rule = run.recipe.predict
    registered = json.loads(run.path("registered.json").read_text())
    written = predict_path(
        run.path("model"), f"{registered['model']}/{registered['version']}", run.path("data"), run.path("predictions"),
        run.recipe.compute, rule.batch_size, rule.split,
    )  # fmt: skip
    sys.stderr.write(f"{written.rows} predictions in {written.path}\n")


def predict_path(
    model: Path, version: str, source: Path, out: Path, compute: Compute, batch_size: int = 256, split: str = "test"
) -> Written:
    """Answer everything at ``source`` with a model directory; ``out`` appears whole or not at all."""
    check_out(out)
    trained = read_model(model)
    # Ray's workers run in directories of their own
    rows = open_source(source.absolute() if compute.workers else source, trained.task.schema.images, split)
    digest = rows.digest or ids_digest(rows)
    if compute.workers:
        from cvflow.runtime.ray_data import predict as predict_on_ray  # ray is imported only where it runs

        answers: Iterable[list[dict[str, Any]]] = predict_on_ray(rows, model, compute, batch_size)
    else:
        answers = _here(rows, model, compute, batch_size)
    out = out.absolute()
    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        count, faults = write_parts(aside, answers, {"model_version": version, "data_hash": digest})
        shutil.rmtree(out, ignore_errors=True)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Written(out, count, faults)


def check_out(out: Path) -> None:
    """Only an earlier prediction is ever replaced."""
    others = [p for p in out.iterdir() if not p.match("part-*.parquet")] if out.is_dir() else [out] if out.exists() else []
    if others:
        got = f"{out}, which holds {others[0].name}"
        raise RequestError(Fault("--out", got, "a new folder, or one of earlier predictions", "Type --out predictions."))


def _here(rows: RowSource, model: Path, compute: Compute, batch_size: int) -> Iterator[list[dict[str, Any]]]:
    import torch

    from cvflow.runtime.local import pick_device, threads

    torch.set_num_threads(threads(compute))
    device = pick_device(compute)
    return Predictor(read_model(model, device), device).rows(rows.rows(0, len(rows)), batch_size)


def write_parts(folder: Path, answers: Iterable[list[dict[str, Any]]], stamp: dict[str, str]) -> tuple[int, int]:
    """Stream the answers to ``part-00000.parquet``, ...; (rows, rows with an error)."""
    writer: pq.ParquetWriter | None = None
    count = faults = part = rows_in_part = 0
    waiting: list[dict[str, Any]] = []  # rows until one without an error shows the columns
    for batch in answers:
        waiting += [{**answer, **stamp} for answer in batch]
        count += len(batch)
        faults += sum(answer["error"] is not None for answer in batch)
        if writer is None and all(row["error"] is not None for row in waiting):
            continue
        if writer is None or rows_in_part >= PART_ROWS:
            schema = writer.schema if writer else _schema(waiting)
            if writer is not None:
                writer.close()
            writer, part, rows_in_part = pq.ParquetWriter(folder / f"part-{part:05d}.parquet", schema), part + 1, 0
        writer.write_table(pa.Table.from_pylist(waiting, schema=writer.schema))
        rows_in_part += len(waiting)
        waiting = []
    if writer is None:
        pq.write_table(to_table(waiting), folder / "part-00000.parquet")
    else:
        writer.close()
    return count, faults


def _schema(rows: list[dict[str, Any]]) -> pa.Schema:
    """The columns as a readable row shows them; errors are text."""
    good = to_table([row for row in rows if row["error"] is None]).schema
    return good.set(good.get_field_index("error"), pa.field("error", pa.string()))


def ids_digest(rows: RowSource) -> str:
    """A digest of a folder's images: md5 over ids and contents, in order."""
    total = hashlib.md5(usedforsecurity=False)
    for row in rows.rows(0, len(rows)):
        for name, value in sorted(row.items()):
            data = value if isinstance(value, bytes) else str(value).encode()
            total.update(f"{name}:{len(data)}:".encode() + data)
    return total.hexdigest()
