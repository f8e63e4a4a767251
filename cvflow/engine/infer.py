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
        """The answers to some rows, one a sample; a row with an unreadable image has one of only ``id`` and ``error``."""
        task = self.trained.task
        samples: list[Sample] = []
        owners: list[int] = []  # the row of each sample: ids may repeat
        answers: list[list[dict[str, Any]]] = [[] for _ in rows]
        for number, row in enumerate(rows):
            try:
                own = [self.transform(sample) for sample in task.samples(row)]
            except ImageFault as fault:
                answers[number].append({"id": row["id"], "error": str(fault)})
                continue
            samples += own
            owners += [number] * len(own)
        if samples:
            batch = task.collate(samples).to(self.device)
            for number, prediction in zip(owners, task.decode(task.forward(self.trained.model, batch), batch), strict=True):
                answers[number].append({"id": prediction.id, "error": None, **prediction.values})
        return [answer for part in answers for answer in part]


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table with every key that any row has; what a row lacks is null."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return pa.table({key: [row.get(key) for row in rows] for key in keys})
