"""predict: a model's answers to a folder, a prepared dataset or Parquet, as Parquet with model version and data hash."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import cvflow
from cvflow.config import Compute
from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.row_sources import RowSource, open_source
from cvflow.engine.export import FILES, read_model
from cvflow.engine.infer import Predictor, answer_schema
from cvflow.errors import Fault, InterruptedRunError, RequestError
from cvflow.project.graph import Run
from cvflow.project.writable import check_folder
from cvflow.registry import Component
from cvflow.runtime.console import Pace
from cvflow.runtime.local import here_if_few
from cvflow.stages.predict import answer_files
from cvflow.stages.predict.answer_files import filed
from cvflow.stages.predict.overlays import FOLDER, write_overlays
from cvflow.stages.predict.parts import JOURNAL, Parts, count, resumable

NAMED = 5
"""Names that a message lists."""


@dataclass(frozen=True)
class Written:
    """What a prediction left: its folder, answers in all, and those whose image could not be read."""

    path: Path
    rows: int
    faults: int


def predict(run: Run) -> None:
    """Write ``runs/<name>/predictions``: the registered version's answers to the recipe's split."""
    rule = run.recipe.predict
    registered = json.loads(run.path("registered.json").read_text())
    compute = here_if_few(run.recipe.compute, PreparedDataset(run.path("data")).info.counts[rule.split])
    written = predict_path(
        run.path("model"), f"{registered['model']}/{registered['version']}", run.path("data"), run.path("predictions"),
        compute, rule.batch_size, rule.split, rule.overlays, rule.views,
    )  # fmt: skip
    sys.stderr.write(f"{written.rows} predictions in {written.path}\n")


def predict_path(
    model: Path,
    version: str,
    source: Path,
    out: Path,
    compute: Compute,
    batch_size: int = 256,
    split: str = "test",
    overlays: int = 0,
    views: Sequence[Component] = (),
) -> Written:
    """Answer everything at ``source`` with a model directory; ``out`` appears whole or not at all.

    Killed, it leaves its whole parts in ``.<out>.partial``; the same request goes on after them. The same request: the same
    model, version, data by content, and split. The task's own files of its answers go to
    ``out/_files``. overlays: how many images are drawn, with their answers, to ``out/_overlays``.
    views: looks at each image, whose answers are merged.
    """
    check_out(out)
    trained = read_model(model)
    # Ray's workers run in directories of their own
    rows = open_source(source.absolute() if compute.workers else source, trained.task.schema.images, split)
    say_passed_over(rows.passed_over)
    out, digest = out.absolute(), rows.digest
    aside = out.with_name(f".{out.name}.partial")
    key = {
        "model": model_digest(model),
        "model version": version,
        "data": digest,
        "split": split,
        "cvflow version": cvflow.__version__,
    }
    key["views"] = json.dumps([view.model_dump(mode="json") for view in views])
    with resumable(aside, key) as news:
        parts = Parts(
            aside, answer_schema(trained), len(rows), {"model_version": version, "data_hash": digest}
        )
        found = f"{parts.done:,} of {len(rows):,} rows were answered before; going on" if parts.done else ""
        sys.stderr.write("".join(f"{line}\n" for line in (news, found) if line))
        try:
            answers = _answers(rows, model, compute, batch_size, parts.done, views)
            parts.write(
                _paced(
                    filed(answers, trained.task.answer, rows.ids, aside / answer_files.FOLDER),
                    parts.done,
                    len(rows),
                )
            )
            write_overlays(aside / FOLDER, trained, rows, overlays, views)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                f"interrupted after {parts.done:,} rows; the same command goes on from there"
            ) from error
        answered, faults = count(aside)
        (aside / JOURNAL).unlink()
        shutil.rmtree(out, ignore_errors=True)
        aside.rename(out)
    return Written(out, answered, faults)


def say_passed_over(names: Sequence[str]) -> None:
    if names:
        more = ", ..." if len(names) > NAMED else ""
        sys.stderr.write(f"{len(names):,} passed over: {', '.join(names[:NAMED])}{more}\n")


def check_out(out: Path) -> None:
    """Only an earlier prediction is ever replaced; and what cannot be written is refused before the work."""
    ours = ("part-*.parquet", FOLDER, answer_files.FOLDER)
    others = (
        [p for p in out.iterdir() if not any(map(p.match, ours))]
        if out.is_dir()
        else [out]
        if out.exists()
        else []
    )
    if others:
        got = f"{out}, which holds {others[0].name}"
        raise RequestError(
            Fault("--out", got, "a new folder, or one of earlier predictions", "Type --out predictions.")
        )
    check_folder(out.absolute().parent, out)


def model_digest(model: Path) -> str:
    """md5 over a model directory's two files."""
    total = hashlib.md5(usedforsecurity=False)
    for name in FILES:
        total.update((model / name).read_bytes())
    return total.hexdigest()


def _answers(
    rows: RowSource, model: Path, compute: Compute, batch_size: int, first: int, views: Sequence[Component]
) -> Iterator[pa.Table]:
    """The answers to the rows from ``first`` on, in their order."""
    if first == len(rows):
        return iter(())
    if compute.workers:
        from cvflow.runtime.ray_data import predict as predict_on_ray  # ray is imported only where it runs

        return predict_on_ray(rows, model, compute, batch_size, first, views)
    return _here(rows, model, compute, batch_size, first, views)


def _here(
    rows: RowSource, model: Path, compute: Compute, batch_size: int, first: int, views: Sequence[Component]
) -> Iterator[pa.Table]:

    from cvflow.runtime.cores import compute_on, cores, threads
    from cvflow.runtime.local import pick_device

    compute_on(threads(compute))
    device = pick_device(compute)
    decoders = cores() if device.type == "cuda" else 1  # on the CPU the model needs the cores itself
    predictor = Predictor(read_model(model, device), device, decoders, views)
    return predictor.tables(rows.rows(first, len(rows)), batch_size, first)


def _paced(tables: Iterable[pa.Table], done: int, total: int) -> Iterator[pa.Table]:
    """The tables; the terminal sees how fast they come."""
    pace = Pace(done, total)
    for table in tables:
        yield table
        pace.reached(int(table["row"][-1].as_py()) + 1 if len(table) else done)
    pace.end()
