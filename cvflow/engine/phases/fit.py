"""``fit``: the last, linear layer fitted to the features of the network below it, as it stands (Donahue 2013, arXiv 1310.1531)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn

from cvflow.config import Phase
from cvflow.engine.checkpoint import Checkpoint
from cvflow.engine.distributed import agree, barrier, gather
from cvflow.engine.job import Job
from cvflow.engine.linear import Array, Estimator, Labels, Linear, fit_linear
from cvflow.engine.meter import Clock
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.score import validate
from cvflow.engine.session import Point
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.loading.loader import Rows, eval_batches
from cvflow.registry import register
from cvflow.types import Batch, Row

Part = tuple[Array, Labels, Array]
"""Features N x F, labels and weights of some samples."""


@register("phase", "fit")
class Fit:
    """estimator: logistic regression (linear), or a linear support vector machine (svm). c: 1 / regularisation, of standardised features.

    One pass over the train split without augmentation; the network below keeps its weights. The phase's other keys
    (epochs, optimizer, schedule, freeze) are not read.
    """

    one_pass = True

    def __init__(self, *, estimator: Estimator = "linear", c: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.estimator, self.c = estimator, c

    def __call__(self, job: Job, phase: Phase, cursor: Cursor, resumed: Checkpoint | None) -> None:
        if cursor.epoch == 0:  # where it was broken off it is done again
            fit_head(job, cursor, self.estimator, self.c)


def fit_head(job: Job, cursor: Cursor, estimator: Estimator, c: float) -> None:
    """Fit, put the result into the model, measure it on val, report and save."""
    clock, started = Clock(job.session.device), time.perf_counter()
    x, label, weight = collected(job, cursor, clock)
    speed = len(x) / max(1e-9, time.perf_counter() - started)
    fitted = on_rank_0(
        job, lambda: fit_linear(estimator, c, x, label, weight, len(job.info.classes), job.recipe.seed)
    )
    for model in models(job):
        job.task.set_head(model, torch.from_numpy(fitted.weight), torch.from_numpy(fitted.bias))
    clock.lap("optimizer")
    scores, improved = validate(job, cursor)
    clock.lap("evaluation")
    cursor.step, cursor.epoch, cursor.epochs_done = cursor.step + 1, 1, cursor.epochs_done + 1
    summary = {
        "epoch": float(cursor.epochs_done),
        "train_accuracy": fitted.accuracy(x, label),
        "images_per_second": speed,
    }
    points = [Point(cursor.step, time.time(), {**summary, **scores, **clock.seconds()})]
    cursor.points += [asdict(point) for point in points]
    job.session.report(points)
    if job.session.rank == 0:
        job.session.checkpoints.save(cursor.step, Checkpoint(asdict(cursor), job.weights()), improved)
    barrier()
    cursor.saved(job.session.report_seconds)


def models(job: Job) -> list[nn.Module]:
    """The one that is measured and kept (the averaged one, where there is one) first."""
    return [*([job.average.module] if job.average is not None else []), job.model]


@torch.no_grad()
def collected(job: Job, cursor: Cursor, clock: Clock) -> Part:
    """The features of an epoch's rows on every rank, in the order of the split; a row that comes n times weighs n-fold."""
    session, task, model = job.session, job.task, models(job)[0]
    reader = job.dataset.split("train")
    order = task.sampler(job.recipe, job.info).order(reader, job.recipe.seed, cursor.epochs_done)
    indices, times = np.unique(np.asarray(order), return_counts=True)
    rows = Chosen(reader, indices.tolist())
    transform = task.transforms(job.recipe, "test")
    mine: list[Part] = []
    model.eval()
    for batch in eval_batches(
        task, rows, transform, job.recipe.evaluate.batch_size, session.rank, session.world_size, session.loader_workers
    ):  # fmt: skip
        clock.lap("data")
        if session.world_size == 1 and session.should_stop():
            raise InterruptedRunError(
                "stopped while features were collected; the same command collects them again"
            )
        mine.append(features(job, model, batch))
        clock.lap("forward")
    if any(agree(session.should_stop())):
        raise InterruptedRunError(
            "stopped after features were collected; the same command collects them again"
        )
    rounds = zip_longest(*gather(mine))
    parts = [part for in_round in rounds for part in in_round if part is not None]
    x, label, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return x, label, weight * times


def features(job: Job, model: nn.Module, batch: Batch) -> Part:
    found = job.task.features(
        model, batch.to(job.session.device, channels_last=job.recipe.train.channels_last)
    )
    return found.x.double().cpu().numpy(), found.label.cpu().numpy(), found.weight.double().cpu().numpy()


def on_rank_0(job: Job, work: Callable[[], Linear]) -> Linear:
    """Work of rank 0, its result on all; so is its error."""
    try:
        mine: Linear | CvflowError | None = work() if job.session.rank == 0 else None
    except CvflowError as error:
        mine = error
    first = gather(mine)[0]
    if not isinstance(first, Linear):
        raise first or CvflowError("the fit gave nothing")
    for line in first.said if job.session.rank == 0 else ():
        job.session.say(f"{line} Type a smaller train.kind.c.")
    return first


class Chosen:
    """Some rows of a split."""

    def __init__(self, rows: Rows, indices: Sequence[int]) -> None:
        self._rows, self._indices = rows, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Row:
        return self._rows[self._indices[index]]
