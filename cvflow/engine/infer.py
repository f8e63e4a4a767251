"""Inference without targets: rows in, answers out; an image that cannot be read is answered with
its fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from cvflow.annotations.image import ImageFault
from cvflow.config import Image
from cvflow.dataset.shards import arrow_type
from cvflow.engine.export import TrainedModel
from cvflow.engine.job import channels_last
from cvflow.engine.rows import by_owner
from cvflow.engine.views import Looking, make_views
from cvflow.loading.prefetch import ahead
from cvflow.models.fold import folded
from cvflow.registry import Component
from cvflow.types import Batch, Prediction, Row, Sample

ROW = "row"
"""The column that says which row of the source an answer belongs to."""


@dataclass(frozen=True)
class Decoded:
    """Some rows, their images decoded and fitted, each once for each view.

    owners: for each sample the place of its row, views not counted. faults: place of a row -> what
    is wrong with its image.
    """

    rows: list[Row]
    batch: Batch | None
    owners: list[int]
    faults: dict[int, str]


class Predictor:
    """A trained model on a device. Row: ``id`` and the task's encoded images.

    decoders: threads that decode a batch. views: looks at each image, whose raw results are merged.
    """

    def __init__(
        self,
        trained: TrainedModel,
        device: torch.device,
        decoders: int = 1,
        views: Sequence[Component] = (),
    ) -> None:
        self.trained = trained
        self.device = device
        self.looking = Looking(trained.task, trained.recipe, make_views(views, trained.recipe.image))
        self._pool = ThreadPoolExecutor(decoders) if decoders > 1 else None

    @cached_property
    def model(self) -> nn.Module:
        """The trained model in the memory order of its training, its norms folded if that leaves
        its outputs as they are.
        """
        with torch.inference_mode(False):  # else its weights could not be trained again
            model = folded(self.trained.model, self._example)
            return channels_last(model) if self.trained.recipe.train.channels_last else model

    def _example(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the model's raw results for noise, by which folding is checked."""
        task, image = self.trained.task, self.trained.recipe.image
        images = {name: noise(image, 1, seed) for seed, name in enumerate(task.schema.images)}
        batch = Batch(["noise"], images).to(self.device)
        return dict(task.raw(task.outputs(model, batch), batch))

    def rows(self, rows: Iterable[Row], batch_size: int) -> Iterator[list[dict[str, Any]]]:
        """Yield for each batch of rows its answers in order: ``{id, error, ...prediction}``, error
        None if all went well.
        """
        for batch in batches(rows, batch_size):
            yield self.batch(batch)

    def batch(self, rows: list[Row]) -> list[dict[str, Any]]:
        """Return the answer to each row; one whose image cannot be read has only ``id`` and ``error``."""
        return self.answers(self.decode(rows))

    def tables(self, rows: Iterable[Row], batch_size: int, first: int = 0) -> Iterator[pa.Table]:
        """Yield the answers as tables of ``answer_schema``, a batch each.

        Images are decoded ahead, while the model works.

        first: the number of the first row.
        """
        for decoded in ahead(map(self.decode, batches(rows, batch_size))):
            yield self.table(decoded, range(first, first + len(decoded.rows)))
            first += len(decoded.rows)

    def table(self, decoded: Decoded, numbers: Iterable[int]) -> pa.Table:
        """Return the answers to some rows, each with its row's number."""
        pairs = zip(numbers, self.answers(decoded), strict=True)
        rows = [{ROW: number, **answer} for number, answer in pairs]
        return pa.Table.from_pylist(rows, schema=answer_schema(self.trained))

    @torch.inference_mode()
    def decode(self, rows: list[Row]) -> Decoded:
        """Return the images of some rows as one batch; can run in any thread."""
        by_row = map(self._samples, rows) if self._pool is None else self._pool.map(self._samples, rows)
        samples: list[Sample] = []
        owners: list[int] = []
        faults: dict[int, str] = {}
        for place, of_row in enumerate(by_row):
            if isinstance(of_row, str):
                faults[place] = of_row
                continue
            samples += of_row
            owners += [place] * (len(of_row) // len(self.looking.views))
        batch = self.trained.task.collate(samples) if samples else None
        return Decoded(rows, batch, owners, faults)

    def _samples(self, row: Row) -> list[Sample] | str:
        """Return the row's fitted samples, each once for each view; or why there are none."""
        try:
            return list(self.looking.samples(row))
        except ImageFault as fault:
            return str(fault)

    @torch.inference_mode()
    def answers(self, decoded: Decoded) -> list[dict[str, Any]]:
        """Return the answer to each row, in their order."""
        by_row = by_owner(len(decoded.rows), decoded.owners, self._predictions(decoded))
        answers: list[dict[str, Any]] = []
        for place, row in enumerate(decoded.rows):
            if place in decoded.faults:
                answers.append({"id": row["id"], "error": decoded.faults[place]})
            else:
                answer = self.trained.task.join(row, by_row[place])
                answers.append({"id": answer.id, "error": None, **answer.values})
        return answers

    def _predictions(self, decoded: Decoded) -> list[Prediction]:
        """Return the predictions for the samples of some rows."""
        if decoded.batch is None:
            return []
        task = self.trained.task
        order = self.trained.recipe.train.channels_last
        batch, *more_views = self.looking.apart(decoded.batch.to(self.device, channels_last=order))
        raw = task.raw(task.outputs(self.model, batch), batch)
        return task.decode(self.looking.merged(self.model, raw, more_views), batch)


def noise(image: Image, count: int, seed: int) -> Tensor:
    """Return random uint8 images BCHW of the model's size, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, image.channels, *image.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def answer_schema(trained: TrainedModel) -> pa.Schema:
    """Return ``row``, ``id``, ``error`` and the columns of the task's answer, whichever of them a
    batch happens to have.
    """
    columns = {name: arrow_type(kind) for name, kind in trained.task.answer.columns.items()}
    return pa.schema({ROW: pa.int64(), "id": pa.string(), "error": pa.string(), **columns})


def batches(rows: Iterable[Row], batch_size: int) -> Iterator[list[Row]]:
    """Yield the rows in lists of ``batch_size``, the last one shorter."""
    iterator = iter(rows)
    while batch := list(islice(iterator, batch_size)):
        yield batch
