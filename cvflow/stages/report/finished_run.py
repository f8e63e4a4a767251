"""A run whose results are there, as the report and comparisons read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from cvflow.annotations.image import Pixels, decode
from cvflow.answers.base import objective_of
from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.export import read_model
from cvflow.engine.history import read_history
from cvflow.engine.infer import Predictor
from cvflow.engine.job import make_task
from cvflow.engine.session import Point
from cvflow.project.graph import Run, read_recipe
from cvflow.registry import Component
from cvflow.stages.evaluate import read_metrics
from cvflow.tasks.base import Task
from cvflow.types import Objective, Row

Series = dict[str, list[tuple[float, float | None]]]
"""Name -> [(step or epoch, value)]."""


class Shown(NamedTuple):
    """A sample of the measured split, with its row's annotation."""

    row: Row
    truth: Mapping[str, Any]


@dataclass(frozen=True)
class Finished:
    """measured: {split, data_digest, metrics}, as evaluate wrote it."""

    run: Run

    @cached_property
    def dataset(self) -> PreparedDataset:
        return PreparedDataset(self.run.path("data"))

    @cached_property
    def recipe(self) -> Recipe:
        """What the model was made by."""
        return read_recipe(self.run.trained_by)

    @cached_property
    def task(self) -> Task:
        return make_task(self.recipe, self.dataset.info)

    @cached_property
    def measured(self) -> dict[str, Any]:
        return read_metrics(self.run)

    @cached_property
    def objective(self) -> Objective:
        return objective_of(self.task.answer)

    @cached_property
    def points(self) -> list[Point]:
        return [point for _, point in read_history(self.run.path("history.jsonl"))]

    @cached_property
    def by_step(self) -> Series:
        """Training losses and lr."""
        return _series((p.step, p.metrics) for p in self.points if "epoch" not in p.metrics)

    @cached_property
    def by_epoch(self) -> Series:
        """What was measured after each epoch."""
        return _series((p.metrics["epoch"], p.metrics) for p in self.points if "epoch" in p.metrics)

    @property
    def seconds(self) -> dict[str, float]:
        """Training time by what it was spent on; empty where it was not measured."""
        rows_by_id = {name: values for name, values in self.by_epoch.items() if name.startswith("seconds_")}
        return {
            name.removeprefix("seconds_"): sum(y or 0 for _, y in values)
            for name, values in rows_by_id.items()
        }

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run."""
        content: dict[str, Any] = json.loads(self.run.path(name).read_text())
        return content

    @cached_property
    def _answers(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.run.path("evaluation") / "predictions.parquet")

    def column(self, name: str) -> list[Any]:
        """One column of the measured answers; all None where evaluate wrote none."""
        if name not in self._answers.schema_arrow.names:
            return [None] * self._answers.metadata.num_rows
        values: list[Any] = self._answers.read([name]).column(name).to_pylist()
        return values

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """Of each answer, in order; one that is no number counts as the least."""
        values = np.array(self.column("quality"), dtype=np.float64)
        values[np.isnan(values)] = -np.inf
        return values

    def answers(self, positions: Iterable[int]) -> list[dict[str, Any]]:
        """Whole answers, by their places; only these are unpacked.

        Their maps, which evaluate keeps none of, the model gives again.
        """
        indices = pa.array(list(positions), pa.int64())
        rows: list[dict[str, Any]] = self._answers.read().take(indices).to_pylist()
        if not self.task.answer.heavy:
            return rows
        rows_by_id = self.find(row["id"] for row in rows)
        return [{**self._answered(rows_by_id[row["id"]], row["id"]), **row} for row in rows]

    def _answered(self, shown: Shown, id: str) -> dict[str, Any]:
        return next(answer for answer in self._predictor.batch([shown.row]) if answer["id"] == id)

    @cached_property
    def _predictor(self) -> Predictor:
        views = [Component.model_validate(view) for view in self.measured.get("views", ())]
        return Predictor(read_model(self.run.path("model")), torch.device("cpu"), views=views)

    def find(self, ids: Iterable[str]) -> dict[str, Shown]:
        """Return rows of the measured split by their ids."""
        reader = self.dataset.split(self.measured["split"])
        places = {id: place for place, id in enumerate(reader.column("id"))}
        rows = {}
        for id in ids:
            row = reader[places[id]]
            truth = {name: row[name] for name in self.task.schema.annotations if name in row}
            rows[id] = Shown(row, truth)
        return rows

    def draw(self, shown: Shown, answer: Mapping[str, Any]) -> Pixels:
        """The image with an answer, or the truth, on it."""
        pixels = decode(shown.row[self.task.schema.images[0]], max_megapixels=self.task.max_megapixels)
        return self.task.answer.draw(pixels, answer)


def _series(rows: Iterable[tuple[float, Mapping[str, float]]]) -> Series:
    series: Series = {}
    for x, metrics in rows:
        for name, value in metrics.items():
            if name != "epoch":
                series.setdefault(name, []).append((x, value))
    return series
