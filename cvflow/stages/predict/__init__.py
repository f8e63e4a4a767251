"""predict: a model's answers to a folder, a prepared dataset or Parquet, as Parquet with model
version and data hash.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

import cvflow
from cvflow.config import Compute
from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.row_sources import RowSource, open_source
from cvflow.engine.export import FILES, TrainedModel, read_model
from cvflow.engine.infer import Predictor, answer_schema
from cvflow.errors import Fault, InterruptedRunError, RequestError
from cvflow.project.graph import Run
from cvflow.project.writable import check_folder
from cvflow.recipe.refusals import view_faults
from cvflow.registry import Component
from cvflow.runtime.console import Pace
from cvflow.runtime.local import here_if_few, pick_device
from cvflow.stages.predict import answer_files
from cvflow.stages.predict.answer_files import filed
from cvflow.stages.predict.evaluated import evaluated_answers, numbered_tables, request_key
from cvflow.stages.predict.overlays import FOLDER, write_overlays
from cvflow.stages.predict.parts import JOURNAL, Parts, count, resumable

NAMED = 5
"""Names that a message lists."""


@dataclass(frozen=True)
class Written:
    """What a prediction left: its folder, how many answers, and how many of them are of an image
    that could not be read.
    """

    path: Path
    rows: int
    faults: int


def predict(run: Run) -> None:
    """Write ``runs/<name>/predictions``: the registered version's answers to the recipe's split."""
    rule = run.recipe.predict
    registered = json.loads(run.path("registered.json").read_text())
    dataset = PreparedDataset(run.path("data"))
    num_rows = dataset.info.counts[rule.split]
    model = run.path("model")
    key = request_key(model_digest(model), dataset.digest, rule.split, rule.views)
    evaluated = evaluated_folder(run)
    written = predict_path(
        model,
        f"{registered['model']}/{registered['version']}",
        run.path("data"),
        run.path("predictions"),
        here_if_few(run.recipe.compute, num_rows),
        rule.batch_size,
        rule.split,
        rule.overlays,
        rule.views,
        evaluated_answers(evaluated, key, num_rows),
    )
    shutil.rmtree(evaluated, ignore_errors=True)
    sys.stderr.write(f"{written.rows} predictions in {written.path}\n")


def evaluated_folder(run: Run) -> Path:
    """Return where evaluate keeps its answers for predict."""
    return run.state / "evaluated"


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
    evaluated: Sequence[Path] = (),
) -> Written:
    """Answer everything at ``source`` with a model directory; ``out`` appears whole or not at all.

    Killed, it leaves its whole parts in ``.<out>.partial``; the same request goes on after them.
    The same request: the same model, version, data by content, and split. The answer's own files go
    to ``out/_files``.

    overlays: how many images are drawn, with their answers, to ``out/_overlays``.
    views: looks at each image, whose raw results are merged.
    evaluated: files with the answers to all rows, which evaluate gave; without them the model is run.
    """
    check_out(out)
    device = torch.device("cpu") if compute.workers else pick_device(compute)
    trained = read_model(model, device)
    if faults := view_faults(trained.task, views, "--view"):
        raise RequestError(*faults)
    # Ray's workers run in directories of their own
    place = source.absolute() if compute.workers else source
    rows = open_source(place, trained.task.schema.images, split)
    say_passed_over(rows.passed_over)
    out = out.absolute()
    aside = out.with_name(f".{out.name}.partial")
    stamp = {"model_version": version, "data_hash": rows.digest}
    with resumable(aside, request(model, version, rows.digest, split, views)) as news:
        parts = Parts(aside, answer_schema(trained), len(rows), stamp)
        say_resumed(news, parts.done, len(rows))
        try:
            if evaluated:
                tables = numbered_tables(evaluated, parts.done)
            else:
                tables = _run_model(trained, device, rows, model, compute, batch_size, parts.done, views)
            files = filed(tables, trained.task.answer, rows.ids, aside / answer_files.FOLDER)
            parts.write(_paced(files, parts.done, len(rows)))
            write_overlays(aside / FOLDER, trained, device, rows, overlays, views)
        except KeyboardInterrupt as error:
            message = f"interrupted after {parts.done:,} rows; the same command goes on from there"
            raise InterruptedRunError(message) from error
        num_answers, num_faults = count(aside)
        (aside / JOURNAL).unlink()
        shutil.rmtree(out, ignore_errors=True)
        aside.rename(out)
    return Written(out, num_answers, num_faults)


def request(
    model: Path, version: str, data_digest: str, split: str, views: Sequence[Component]
) -> dict[str, str]:
    """Return what the parts of an interrupted prediction must agree in to be gone on from."""
    return {
        "model": model_digest(model),
        "model version": version,
        "data": data_digest,
        "split": split,
        "cvflow version": cvflow.__version__,
        "views": json.dumps([view.model_dump(mode="json") for view in views]),
    }


def say_passed_over(names: Sequence[str]) -> None:
    """Say on the terminal what lies at the source and is not read."""
    if names:
        more = ", ..." if len(names) > NAMED else ""
        sys.stderr.write(f"{len(names):,} passed over: {', '.join(names[:NAMED])}{more}\n")


def say_resumed(news: str, done: int, total: int) -> None:
    """Say on the terminal what was found of an earlier try. news: why its parts are not used, if so."""
    if news:
        sys.stderr.write(f"{news}\n")
    if done:
        sys.stderr.write(f"{done:,} of {total:,} rows were answered before; going on\n")


def check_out(out: Path) -> None:
    """Raise RequestError if ``out`` holds something else than an earlier prediction, or cannot be written."""
    ours = ("part-*.parquet", FOLDER, answer_files.FOLDER)
    foreign: list[Path] = []
    if out.is_dir():
        foreign = [path for path in out.iterdir() if not any(map(path.match, ours))]
    elif out.exists():
        foreign = [out]
    if foreign:
        got = f"{out}, which holds {foreign[0].name}"
        expected = "a new folder, or one of earlier predictions"
        raise RequestError(Fault("--out", got, expected, "Type --out predictions."))
    check_folder(out.absolute().parent, out)


def model_digest(model: Path) -> str:
    """Return the md5 over a model directory's two files."""
    total = hashlib.md5(usedforsecurity=False)
    for name in FILES:
        total.update((model / name).read_bytes())
    return total.hexdigest()


def _run_model(
    trained: TrainedModel,
    device: torch.device,
    rows: RowSource,
    model: Path,
    compute: Compute,
    batch_size: int,
    first: int,
    views: Sequence[Component],
) -> Iterator[pa.Table]:
    """Return the model's answers to the rows from ``first`` on, in their order."""
    if first == len(rows):
        return iter(())
    if compute.workers:
        # Ray is imported only where it runs
        from cvflow.runtime.ray_data import predict as predict_on_ray

        return predict_on_ray(rows, model, compute, batch_size, first, views)
    return _here(trained, device, rows, compute, batch_size, first, views)


def _here(
    trained: TrainedModel,
    device: torch.device,
    rows: RowSource,
    compute: Compute,
    batch_size: int,
    first: int,
    views: Sequence[Component],
) -> Iterator[pa.Table]:
    """Return the answers that this process gives."""
    from cvflow.runtime.cores import compute_on, cores, threads

    compute_on(threads(compute))
    # on the CPU the model needs the cores itself
    decoders = cores() if device.type == "cuda" else 1
    predictor = Predictor(trained, device, decoders, views)
    return predictor.tables(rows.rows(first, len(rows)), batch_size, first)


def _paced(tables: Iterable[pa.Table], done: int, total: int) -> Iterator[pa.Table]:
    """Yield the tables; the terminal sees how fast they come."""
    pace = Pace(done, total)
    for table in tables:
        yield table
        pace.reached(int(table["row"][-1].as_py()) + 1 if len(table) else done)
    pace.end()
