"""report: one self-contained HTML page of a run: how it trained, how good it is, on what, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow.parquet as pq

from cvflow.data.dataset import PreparedDataset
from cvflow.data.images import decode
from cvflow.draw import Block, Curves, Facts, Gallery, Item, Numbers, Section, Table, block_of, page
from cvflow.engine.evaluate import target_rows
from cvflow.engine.history import read_history
from cvflow.engine.job import make_task
from cvflow.engine.session import Point
from cvflow.stages.evaluate import read_metrics
from cvflow.stages.run import Run
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo

SHOWN = 12
"""Images in each gallery."""


def report(run: Run) -> None:
    """Write ``runs/<name>/report.html``."""
    dataset = PreparedDataset(run.path("data"))
    task = make_task(run.recipe, dataset.info)
    measured = read_metrics(run)
    objective = task.objective(run.recipe)
    points = [point for _, point in read_history(run.path("history.jsonl"))]
    details = json.loads((run.path("evaluation") / "details.json").read_text())
    figures = {objective.metric: measured["metrics"][objective.metric], **measured["metrics"]}
    sections = [
        Section("Results", [Numbers({f"{measured['split']} {name}": value for name, value in figures.items()})]),
        Section("Training", list(curves(points, objective.metric, objective.direction))),
        Section("Details", [block_of(figure, name.replace("_", " ").capitalize()) for name, figure in details.items()]),
        Section(
            "Images",
            list(galleries(run, task, dataset, measured["split"])),
            f"How images of {measured['split']} were answered: the truth, then the answer.",
        ),
        Section("Data", list(data_blocks(run, dataset.info))),
        Section("Lineage", [Facts(lineage(run, measured))], "What made this model, and how to find it again."),
    ]
    run.path("report.html").write_text(page(run.name, sections, run.recipe.description), encoding="utf-8")


def curves(points: Iterable[Point], metric: str, direction: Any) -> Iterator[Curves]:
    """Losses and learning rate over steps, what was measured on val over epochs."""
    by_step: dict[str, list[tuple[float, float | None]]] = {}
    by_epoch: dict[str, list[tuple[float, float | None]]] = {}
    for point in points:
        epoch = point.metrics.get("epoch")
        for name, value in point.metrics.items():
            if epoch is None:
                by_step.setdefault(name, []).append((point.step, value))
            elif name != "epoch":
                by_epoch.setdefault(name, []).append((epoch, value))
    losses = {name: series for name, series in by_step.items() if name != "lr"}
    yield Curves("Training loss", losses, x_label="step")
    val = f"val_{metric}"
    if val in by_epoch:
        yield Curves(f"Validation {metric}", {val: by_epoch[val]}, best={val: direction})
    others = {name: series for name, series in by_epoch.items() if name.removeprefix("val_") in losses}
    if others:
        yield Curves("Validation loss", others, best={name: "min" for name in others})
    if "lr" in by_step:
        yield Curves("Learning rate", {"lr": by_step["lr"]}, x_label="step")


def galleries(run: Run, task: Task, dataset: PreparedDataset, split: str) -> Iterator[Gallery]:
    """The worst and the best answers by the task's own measure."""
    rows = pq.read_table(run.path("evaluation") / "predictions.parquet").to_pylist()
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["quality"], i))
    reader = dataset.split(split)
    for title, picked in (("Worst answers", order[:SHOWN]), ("Best answers", order[::-1][:SHOWN])):
        yield Gallery([item(task, reader[i], rows[i]) for i in picked], title)


def item(task: Task, row: Mapping[str, Any], answer: Mapping[str, Any]) -> Item:
    """One image with truth and answer."""
    sample = next(iter(task.samples(row)))
    truth = target_rows(task.collate([sample]))[0]
    image = task.draw(decode(row[task.schema.images[0]]), answer)
    return Item(image, f"{task.caption(truth)}, answered {task.caption(answer)}", note=str(row["path"]))


def data_blocks(run: Run, info: DatasetInfo) -> Iterator[Block]:
    """Counts a split and class, and what prepare left out."""
    splits = list(info.counts)
    by_class = info.extra.get("class_counts", {})
    classes = [[c, *(by_class.get(split, {}).get(c, 0) for split in splits)] for c in info.classes] if by_class else []
    yield Table(["class", *splits], [["all", *(info.counts[s] for s in splits)], *classes], "Samples")
    findings = json.loads((run.path("data") / "validation.json").read_text())["findings"]
    if findings:
        rows = [[f["file"], f["what"], f["action"]] for f in findings[:50]]
        yield Table(["file", "what", "action"], rows, f"Findings ({len(findings)}; all of them in data/validation.html)")


def lineage(run: Run, measured: Mapping[str, Any]) -> dict[str, Any]:
    """data hash -> training -> model version -> predictions."""
    said = json.loads(run.path("registered.json").read_text())
    made_by = json.loads((run.path("model") / "model.json").read_text())
    rows = sum(pq.read_metadata(part).num_rows for part in sorted(run.path("predictions").glob("*.parquet")))
    return {
        "model": said["uri"],
        "decision": said["reason"],
        "MLflow run": said["run_id"],
        "training fingerprint": made_by["fingerprint"],
        "training data": made_by["data_digest"],
        "measured on": f"{measured['data_digest']} ({measured['split']})",
        "raw data": str(run.recipe.data.source or f"{run.recipe.data.format.name} (built in)"),
        "weights to start from": str(run.recipe.model.weights or "none"),
        "predictions": f"{run.path('predictions')} ({rows} rows)",
        "recipe": str(run.path("recipe.yaml")),
        "cvflow": run.resolved["cvflow"]["version"],
    }
