"""Evaluation: batches formed globally, batch i on rank i mod W, so that the result does not depend on W."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from cvflow.annotations.truth import Truth
from cvflow.answers.base import Answer
from cvflow.engine.distributed import gather
from cvflow.engine.job import Job
from cvflow.engine.rows import by_owner
from cvflow.engine.views import Looking, View, as_it_is
from cvflow.errors import InterruptedRunError
from cvflow.loading.loader import RowBatch, eval_batches
from cvflow.types import Prediction

Sums = dict[str, tuple[float, float]]
"""Name of a loss -> (sum, count) of a batch."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a split.

    metrics: name -> value, losses included. details: what the report draws. predictions, quality
    and right: of each row, in the split's order; empty unless they were kept. Predictions are kept
    without their heavy columns, which would not fit in memory; run the model again to get them.
    """

    metrics: dict[str, float]
    details: dict[str, Any]
    predictions: list[Prediction]
    quality: list[float]
    right: list[bool | None]


class Measured(NamedTuple):
    """A row's prediction without its heavy columns, how good it is, and whether it is right."""

    prediction: Prediction
    quality: float
    right: bool | None


def evaluate(
    job: Job,
    split: str,
    batch_size: int,
    keep_predictions: bool = False,
    views: Sequence[View] = (View(),),
    keep: Callable[[int, Sequence[Prediction]], None] | None = None,
) -> Evaluation:
    """Measure the job's model on a split; every rank gets the whole result.

    keep: called with the number of each batch in the split and all of its answers, heavy columns included.
    views: looks at each image, whose raw results are merged; losses are of the first view.
    """
    answer = job.task.answer
    metric = answer.metric(job.info)
    losses: list[Sums] = []
    batches: list[list[Measured]] = []
    predicted = _predicted(job, split, batch_size, views)
    for turn, (rows, predictions, sums) in enumerate(predicted):
        if keep is not None:
            keep(turn * job.session.world_size + job.session.rank, predictions)
        truths = [Truth(row, job.task.schema.kinds) for row in rows]
        metric.update(predictions, truths)
        losses.append(sums)
        if keep_predictions:
            pairs = zip(predictions, truths, strict=True)
            batches.append([_measured(answer, prediction, truth) for prediction, truth in pairs])
    total = answer.metric(job.info)
    for state in gather(metric.state()):
        total.merge(state)
    measured = _in_order(gather(batches))
    all_losses: list[Sums] = []
    for part in gather(losses):
        all_losses += part
    return Evaluation(
        metrics={**total.compute(), **_mean_losses(all_losses)},
        details=total.details(),
        predictions=[row.prediction for row in measured],
        quality=[row.quality for row in measured],
        right=[row.right for row in measured],
    )


def _measured(answer: Answer, prediction: Prediction, truth: Truth) -> Measured:
    quality = answer.quality(prediction, truth)
    right = answer.right(prediction, truth)
    return Measured(without_heavy(prediction, answer), quality, right)


def without_heavy(prediction: Prediction, answer: Answer) -> Prediction:
    """Return the prediction without the columns that hold encoded maps."""
    values = {name: value for name, value in prediction.values.items() if name not in answer.heavy}
    return Prediction(prediction.id, values)


@torch.no_grad()
def _predicted(
    job: Job, split: str, batch_size: int, views: Sequence[View]
) -> Iterator[tuple[Sequence[Any], list[Prediction], Sums]]:
    """Yield (rows, the answer to each, losses) for each of this rank's batches."""
    session = job.session
    looking = Looking(job.task, job.recipe, views)
    was_training = job.model.training
    job.model.eval()
    for row_batch in eval_batches(
        looking,
        job.dataset.split(split),
        as_it_is,
        batch_size,
        session.rank,
        session.world_size,
        loader_workers=session.loader_workers,
    ):
        if session.world_size == 1 and session.should_stop():
            raise InterruptedRunError(f"stopped while measuring {split}")
        predictions, sums = _of_samples(job, looking, row_batch)
        owners = row_batch.owners[:: len(looking.views)]
        by_row = by_owner(len(row_batch.rows), owners, predictions)
        answers = [job.task.join(row, of_row) for row, of_row in zip(row_batch.rows, by_row, strict=True)]
        yield row_batch.rows, answers, sums
    job.model.train(was_training)


def _of_samples(job: Job, looking: Looking, row_batch: RowBatch) -> tuple[list[Prediction], Sums]:
    """Return the predictions for the samples of some rows, and their losses; nothing if there is no
    sample.
    """
    if row_batch.batch is None:
        return [], {}
    task = job.task
    on_device = row_batch.batch.to(job.session.device, channels_last=job.recipe.train.channels_last)
    batch, *more_views = looking.apart(on_device)
    outputs = task.outputs(job.model, batch)
    losses = task.losses(outputs, batch)
    raw = looking.merged(job.model, task.raw(outputs, batch), more_views)
    sums = {name: (loss.sum.item(), loss.count.item()) for name, loss in losses.items()}
    return task.decode(raw, batch), sums


def _mean_losses(batches: Sequence[Sums]) -> dict[str, float]:
    """Return the mean of each loss over all batches, and ``loss``: their sum, if none is called so.

    fsum is exact, so the order of ranks does not matter.
    """
    names = dict.fromkeys(name for sums in batches for name in sums)
    means = {}
    for name in names:
        pairs = [sums[name] for sums in batches if name in sums]
        count = math.fsum(count for _, count in pairs)
        means[name] = math.fsum(total for total, _ in pairs) / (count or 1.0)
    return {"loss": math.fsum(means.values()), **means} if means else {}


def _in_order(ranks: Sequence[Sequence[Sequence[Measured]]]) -> list[Measured]:
    """Return the rows in the split's order. ranks: the batches of each rank; batch i was on rank i mod W."""
    rows: list[Measured] = []
    for number in range(max(map(len, ranks))):
        for batches in ranks:
            if number < len(batches):
                rows += batches[number]
    return rows
