"""Every system from scratch on its sample data: its metric, that of the best answer that looks at
no image, the floor, the time.

And the same recipe on shuffled annotations, which has to miss the floor. Each training is a line in
.cvflow/benchmarks/systems.jsonl, written once it is done, and is not done again while its recipe is
the same: broken off, it goes on where it was.

python benchmarks/systems.py [NAME ...] [--threads N] [--no-shuffled]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cases import ROOT, STATE
from measure import table, write_results

from cvflow.annotations.truth import Truth
from cvflow.answers.base import objective_of
from cvflow.config import Compute, Recipe
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import SCHEMA_VERSION, PreparedDataset
from cvflow.dataset.shards import ShardReader
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.evaluate import evaluate
from cvflow.engine.job import make_job, make_task
from cvflow.engine.loop import train
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.registry import Component, build
from cvflow.runtime.console import Console
from cvflow.runtime.cores import cores
from cvflow.runtime.local import LocalSession
from cvflow.stages.train import exported
from cvflow.types import Prediction, Row

DONE = STATE / "systems.jsonl"
TASKS = ("segmentation", "localization", "embedding", "stereo", "flow")
FILES = [ROOT / "pipelines" / f"{task}-samples.yaml" for task in TASKS]
FILES += sorted(file for task in TASKS for file in (ROOT / "tests/recipes").glob(f"{task}-*.yaml"))


class Shuffled(PreparedDataset):
    """Every training row has the annotation of another one."""

    def split(self, name: str) -> ShardReader:
        reader = super().split(name)
        return Mixed(reader, sorted(annotations(self))) if name == "train" else reader


class Mixed(ShardReader):
    """Columns taken from other rows, by a permutation that leaves none where it was."""

    def __init__(self, reader: ShardReader, columns: Sequence[str]) -> None:
        self.__dict__.update(reader.__dict__)
        self._columns = columns
        order = np.random.default_rng(0).permutation(len(reader))
        self._other = np.empty_like(order)
        self._other[order] = np.roll(order, 1)  # one cycle through all rows

    def __getitem__(self, index: int) -> Row:
        other = super().__getitem__(int(self._other[index]))
        return {**super().__getitem__(index), **{name: other[name] for name in self._columns}}

    def column(self, name: str) -> list[Any]:
        values = super().column(name)
        return [values[i] for i in self._other] if name in self._columns else values


def annotations(dataset: PreparedDataset) -> set[str]:
    """The columns of a row that say what is in its images."""
    return set(build("task", Component(name=dataset.info.task)).schema.annotations)


def prepared(recipe: Recipe) -> Path:
    """The recipe's data, made once."""
    key = hashlib.sha256(
        f"{SCHEMA_VERSION}{recipe.task.name}{recipe.data.model_dump_json()}".encode()
    ).hexdigest()[:12]
    out = STATE / f"samples-{key}"
    if not out.exists():
        data, task = recipe.data, build("task", recipe.task)
        reader = build("format", data.format, data.source)
        prepare(reader, task.schema, recipe.task.name, data.split, out, data.shard_mb, data.max_megapixels)
    return out


def trained(recipe: Recipe, dataset: PreparedDataset, threads: int) -> tuple[float, float]:
    """(the objective on test, seconds of the training)"""
    with tempfile.TemporaryDirectory() as root:
        compute = Compute(device="cpu", threads=threads)
        here, start = LocalSession(compute, CheckpointStore(Path(root)), None, Console()), time.perf_counter()
        train(recipe, dataset, here)
        seconds = time.perf_counter() - start
        job = make_job(recipe, dataset, here)
        job.model.load_state_dict(exported(here.checkpoints, recipe))
        metrics = evaluate(job, recipe.evaluate.split, recipe.evaluate.batch_size).metrics
    return metrics[objective_of(job.task.answer).metric], seconds


def blind(recipe: Recipe, dataset: PreparedDataset, seen: str = "train") -> dict[str, float]:
    """The figures, on test, of the best answer that looks at no image. seen: the split whose
    annotations it knows.
    """
    task = make_task(recipe, dataset.info)
    answer, metric = task.answer.guess(rows(dataset, seen)), task.answer.metric(dataset.info)
    for row in rows(dataset, recipe.evaluate.split):
        metric.update([Prediction(row["id"], answer(row))], [Truth(row, task.schema.kinds)])
    return metric.compute()


def rows(dataset: PreparedDataset, split: str) -> Iterator[Row]:
    reader = dataset.split(split)
    return (reader[i] for i in range(len(reader)))


def measured(file: Path, recipe: Recipe, threads: int, shuffled: bool) -> dict[str, Any]:
    """The line of a training, made where there is none yet."""
    key = {"name": file.stem, "shuffled": shuffled, "recipe": digest(recipe)}
    for line in known(DONE):
        if key.items() <= line.items():
            return line
    path = prepared(recipe)
    value, seconds = trained(recipe, (Shuffled if shuffled else PreparedDataset)(path), threads)
    line = {**key, "value": value, "seconds": seconds, "threads": threads}
    if not shuffled:
        line["blind"] = blind(recipe, PreparedDataset(path))[
            build("task", recipe.task).objective(recipe).metric
        ]
    with DONE.open("a") as done:
        done.write(json.dumps(line) + "\n")
    print(line, flush=True)
    return line


def digest(recipe: Recipe) -> str:
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:12]


def known(done: Path) -> list[dict[str, Any]]:
    """The lines of a file of trainings."""
    return [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []


def verdict(file: Path, threads: int, shuffled: bool) -> tuple[list[object], bool]:
    """(the row of the table, whether the system passes)"""
    recipe = Recipe.model_validate(
        {key: value for key, value in resolve_layers(load(file, {})).recipe.items() if key != "cvflow"}
    )
    real, floor = measured(file, recipe, threads, False), recipe.register_.promote.threshold
    objective = build("task", recipe.task).objective(recipe)
    enough = real["blind"] * 3 if objective.direction == "max" else real["blind"] / 3
    checks = [
        floor is not None and not objective.better(enough, floor),
        floor is not None and not objective.better(floor, real["value"]),
    ]
    other = measured(file, recipe, threads, True) if shuffled else {}
    checks += [objective.better(floor, other["value"])] if shuffled and floor is not None else []
    cells = [file.stem, objective.metric, real["value"], real["blind"], floor, other.get("value", "–")]
    return [*cells, f"{real['seconds']:.0f}", real["threads"], "yes" if all(checks) else "no"], all(checks)


def main() -> int:
    """Print the table, row by row; 1 where a system does not pass."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of recipes, as in unet; all by default")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument(
        "--no-shuffled", action="store_true", help="leave the shuffled annotations out; prints only"
    )
    arguments = parser.parse_args()
    files = [
        file
        for file in FILES
        if file.exists() and (not arguments.names or any(name in file.stem for name in arguments.names))
    ]
    STATE.mkdir(parents=True, exist_ok=True)
    columns = [
        "recipe",
        "metric",
        "on test",
        "without the image",
        "floor",
        "shuffled",
        "seconds",
        "threads",
        "passes",
    ]
    found, keep = [], not arguments.names and not arguments.no_shuffled
    for file in files:
        found.append(verdict(file, arguments.threads, not arguments.no_shuffled))
        text = (
            "Trained from scratch with one seed. Without the image: "
            "the best constant answer. The floor is the recipe's "
            "register.promote.threshold, at least 3x that answer's score (a "
            "third of its error). Shuffled: trained with the annotations "
            "of other images. Seconds: of the training with its validation, "
            "beside other work of the machine. A recipe measured before, on "
            "whatever revision, is not trained again; a clone without .cvflow trains all."
        )
        write_results(
            "systems",
            "Systems on their built-in samples",
            table(columns, [row for row, _ in found]),
            text,
            keep=keep,
        )
    return int(not all(passed for _, passed in found))


if __name__ == "__main__":
    sys.exit(main())
