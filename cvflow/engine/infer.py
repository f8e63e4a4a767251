"""Inference without targets: rows in, predictions out; an image that cannot be read is answered with its fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from cvflow.annotations.image import ImageFault
from cvflow.config import Image
from cvflow.dataset.shards import arrow_type
from cvflow.engine.export import TrainedModel
from cvflow.engine.job import channels_last
from cvflow.engine.views import Looking, make_views
from cvflow.loading.prefetch import ahead
from cvflow.models.fold import folded
from cvflow.registry import Component
from cvflow.types import Batch, Row, Sample

T = TypeVar("T")
ROW = "row"
"""The column that says which row of the source an answer belongs to."""


@dataclass(frozen=True)
class Decoded:
    """Some rows, their images decoded and fitted, each once for each view.

    owners: the number of each sample's row, views not counted; faults: number -> what is wrong.
    """

    rows: list[Row]
    batch: Batch | None
    owners: list[int]
    faults: dict[int, str]


class Predictor:
    """A trained model on a device. Row: ``id`` and the task's encoded images.

    decoders: threads that decode a batch. views: looks at each image, whose answers are merged.
    """

    def __init__(
        self, trained: TrainedModel, device: torch.device, decoders: int = 1, views: Sequence[Component] = ()
    ) -> None:
        self.trained = trained
        self.device = device
        self.looking = Looking(trained.task, trained.recipe, make_views(views, trained.recipe.image))
        self._pool = ThreadPoolExecutor(decoders) if decoders > 1 else None

    @cached_property
    def model(self) -> nn.Module:
        """The trained one in the memory order of its training, its norms folded where that leaves its answers as they are."""
        with torch.inference_mode(False):  # else its weights could not be trained again
            model = folded(self.trained.model, self._example)
            return channels_last(model) if self.trained.recipe.train.channels_last else model

    def _example(self, model: nn.Module) -> dict[str, Tensor]:
        task = self.trained.task
        images = {
            name: noise(self.trained.recipe.image, 1, seed) for seed, name in enumerate(task.schema.images)
        }
        return dict(task.forward(model, Batch(["noise"], images).to(self.device)))

    def rows(self, rows: Iterable[Row], batch_size: int) -> Iterator[list[dict[str, Any]]]:
        """For each batch of rows its answers in order: ``{id, error, ...prediction}``, error None where all went well."""
        for batch in batches(rows, batch_size):
            yield self.batch(batch)

    def batch(self, rows: list[Row]) -> list[dict[str, Any]]:
        """The answers to some rows, one a sample; a row with an unreadable image has one of only ``id`` and ``error``."""
        return [answer for _, answer in self.answers(self.decode(rows))]

    def tables(self, rows: Iterable[Row], batch_size: int, first: int = 0) -> Iterator[pa.Table]:
        """The answers as tables of ``answer_schema``, a batch each. Images are decoded ahead, while the model works.

        first: the number of the first row.
        """
        for decoded in ahead(map(self.decode, batches(rows, batch_size))):
            yield self.table(decoded, range(first, first + len(decoded.rows)))
            first += len(decoded.rows)

    def table(self, decoded: Decoded, numbers: Iterable[int]) -> pa.Table:
        """The answers to some rows, each with its row's number."""
        known = list(numbers)
        rows = [{ROW: known[number], **answer} for number, answer in self.answers(decoded)]
        return pa.Table.from_pylist(rows, schema=answer_schema(self.trained))

    @torch.inference_mode()
    def decode(self, rows: list[Row]) -> Decoded:
        """The images of some rows as one batch; can run in any thread."""
        parts = list(map(self._samples, rows) if self._pool is None else self._pool.map(self._samples, rows))
        samples = [sample for part in parts if not isinstance(part, str) for sample in part]
        views = len(self.looking.views)
        owners = [
            number for number, part in enumerate(parts) if not isinstance(part, str) for _ in part[::views]
        ]
        faults = {number: part for number, part in enumerate(parts) if isinstance(part, str)}
        return Decoded(rows, self.trained.task.collate(samples) if samples else None, owners, faults)

    def _samples(self, row: Row) -> list[Sample] | str:
        """The row's fitted samples, each once for each view; or why there are none."""
        try:
            return list(self.looking.samples(row))
        except ImageFault as fault:
            return str(fault)

    @torch.inference_mode()
    def answers(self, decoded: Decoded) -> list[tuple[int, dict[str, Any]]]:
        """(number of the row among these, its answer), in the order of the rows."""
        found = [
            (number, {"id": decoded.rows[number]["id"], "error": fault})
            for number, fault in decoded.faults.items()
        ]
        if decoded.batch is not None:
            task, order = self.trained.task, self.trained.recipe.train.channels_last
            batch, *others = self.looking.apart(decoded.batch.to(self.device, channels_last=order))
            predictions = task.decode(
                self.looking.merged(self.model, task.forward(self.model, batch), others), batch
            )
            found += [
                (n, {"id": p.id, "error": None, **p.values})
                for n, p in zip(decoded.owners, predictions, strict=True)
            ]
        return sorted(found, key=lambda pair: pair[0])


def noise(image: Image, count: int, seed: int) -> Tensor:
    """Random uint8 images BCHW of the model's size, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, image.channels, *image.size), dtype=torch.uint8, generator=generator)


def answer_schema(trained: TrainedModel) -> pa.Schema:
    """``row``, ``id``, ``error`` and the columns of the task's answers, whichever of them a batch happens to have."""
    answers = {name: arrow_type(kind) for name, kind in trained.task.answers.items()}
    return pa.schema({ROW: pa.int64(), "id": pa.string(), "error": pa.string(), **answers})


def batches(rows: Iterable[Row], batch_size: int) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, batch_size)):
        yield batch


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table with every key that any row has; what a row lacks is null."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return pa.table({key: [row.get(key) for row in rows] for key in keys})
