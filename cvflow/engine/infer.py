"""Inference without targets: rows in, predictions out; an image that cannot be read is answered with its fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import torch

from cvflow.data.images import ImageFault
from cvflow.engine.export import TrainedModel
from cvflow.types import Row, Sample


class Predictor:
    """A trained model on a device. Row: ``id`` and the task's encoded images."""

    def __init__(self, trained: TrainedModel, device: torch.device) -> None:
        self.trained = trained
        self.device = device
        self.transform = trained.task.transforms(trained.recipe, "test")

    def rows(self, rows: Iterable[Row], batch_size: int) -> Iterator[list[dict[str, Any]]]:
        """For each batch of rows its answers in order: ``{id, error, ...prediction}``, error None where all went well."""
        iterator = iter(rows)
        while batch := list(islice(iterator, batch_size)):
            yield self.batch(batch)

    @torch.inference_mode()
    def batch(self, rows: list[Row]) -> list[dict[str, Any]]:
        """The answers to some rows; ones with an unreadable image have only ``id`` and ``error``."""
        samples: list[Sample] = []
        faults: dict[str, str] = {}
        for row in rows:
            try:
                samples += [self.transform(sample) for sample in self.trained.task.samples(row)]
            except ImageFault as fault:
                faults[row["id"]] = str(fault)
        answers: dict[str, dict[str, Any]] = {id: {"id": id, "error": fault} for id, fault in faults.items()}
        if samples:
            task = self.trained.task
            batch = task.collate(samples).to(self.device)
            for prediction in task.decode(task.forward(self.trained.model, batch), batch):
                answers[prediction.id] = {"id": prediction.id, "error": None, **prediction.values}
        return [answers[row["id"]] for row in rows]


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table with every key that any row has; what a row lacks is null."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return pa.table({key: [row.get(key) for row in rows] for key in keys})
