"""Evaluation: batches formed globally, batch i on rank i mod W, so that the result does not depend on W."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cvflow.engine.distributed import gather
from cvflow.engine.job import Job
from cvflow.engine.views import Looking, View, as_it_is
from cvflow.errors import InterruptedRunError
from cvflow.loading.loader import eval_batches
from cvflow.tasks.base import Task
from cvflow.types import Batch, Prediction


@dataclass(frozen=True)
class Evaluation:
    """metrics: name -> value (losses included). predictions, quality and right: in the split's order; empty unless kept.

    Predictions are without their maps, which no memory would hold: a model gives them again.
    """

    metrics: dict[str, float]
    details: dict[str, Any]
    predictions: list[Prediction]
    quality: list[float]
    right: list[bool | None]


def evaluate(
    job: Job, split: str, batch_size: int, keep_predictions: bool = False, views: Sequence[View] = (View(),)
) -> Evaluation:
    """Measure the job's model on a split; every rank gets the whole result. views: whose answers are merged; losses are of the first."""
    metric, sums, mine = job.task.metric(job.info), [], []
    for batch, predictions, losses in _answers(job, split, batch_size, views):
        targets = target_rows(batch)
        metric.update(predictions, targets)
        sums.append(losses)
        if keep_predictions:
            pairs = zip(predictions, targets, strict=True)
            mine.append(
                [(without_maps(p, job.task), job.task.quality(p, t), job.task.right(p, t)) for p, t in pairs]
            )
    whole = job.task.metric(job.info)
    for state in gather(metric.state()):
        whole.merge(state)
    kept = _in_order(gather(mine))
    metrics = {**whole.compute(), **_mean_losses([s for part in gather(sums) for s in part])}
    predictions, quality, right = (
        (list(column) for column in zip(*kept, strict=True)) if kept else ([], [], [])
    )
    return Evaluation(metrics, whole.details(), predictions, quality, right)


def without_maps(prediction: Prediction, task: Task) -> Prediction:
    """Without the answers that are encoded bytes."""
    maps = maps_of(task)
    return Prediction(
        prediction.id, {name: value for name, value in prediction.values.items() if name not in maps}
    )


def maps_of(task: Task) -> set[str]:
    """The answers that are encoded bytes."""
    return {name for name, kind in task.answers.items() if kind == "binary"}


def target_rows(batch: Batch) -> list[dict[str, Any]]:
    """The batch's targets and over them its truths, one mapping a sample; tensors of one element become numbers."""

    def item(value: Any) -> Any:
        return value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value

    truths = batch.truths or [{}] * len(batch)
    return [{**{k: item(v[i]) for k, v in batch.targets.items()}, **truth} for i, truth in enumerate(truths)]


@torch.no_grad()
def _answers(
    job: Job, split: str, batch_size: int, views: Sequence[View]
) -> Iterator[tuple[Batch, list[Prediction], dict[str, tuple[float, float]]]]:
    session, task, looking = job.session, job.task, Looking(job.task, job.recipe, views)
    was_training = job.model.training
    job.model.eval()
    for host_batch in eval_batches(
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
        batch, *others = looking.apart(
            host_batch.to(session.device, channels_last=job.recipe.train.channels_last)
        )
        losses, raw = task.measure(job.model, batch)
        raw = looking.merged(job.model, raw, others)
        yield (
            looking.apart(host_batch)[0],
            task.decode(raw, batch),
            {k: (loss.sum.item(), loss.count.item()) for k, loss in losses.items()},
        )
    job.model.train(was_training)


def _mean_losses(parts: list[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """Means over all batches, and ``loss``: their sum where none is called so. fsum is exact, so the order of ranks does not matter."""
    names: Mapping[str, Any] = parts[0] if parts else {}
    means = {n: math.fsum(p[n][0] for p in parts) / (math.fsum(p[n][1] for p in parts) or 1.0) for n in names}
    return {"loss": math.fsum(means.values()), **means} if means else {}


def _in_order(parts: list[list[Any]]) -> list[Any]:
    rounds = max(map(len, parts))
    return [item for i in range(rounds) for part in parts if i < len(part) for item in part[i]]
