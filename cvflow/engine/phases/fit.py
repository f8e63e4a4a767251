"""``fit``: the last, linear layer fitted to the features of the network below it, as it stands
(Donahue 2013, arXiv 1310.1531).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from cvflow.config import Phase
from cvflow.engine.checkpoint import Checkpoint
from cvflow.engine.distributed import agree, barrier, gather
from cvflow.engine.job import Job
from cvflow.engine.linear import Array, Estimator, Labels, LinearLayer, fit_linear
from cvflow.engine.meter import Clock
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.score import validate
from cvflow.engine.session import Point
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.loading.loader import RowBatch, Rows, eval_batches
from cvflow.registry import register
from cvflow.tasks.base import Features, Linear
from cvflow.types import Row


class Problem(NamedTuple):
    """What one linear layer is fitted to. x: N x F; label: N, classes; weight: N, how much each
    sample counts.
    """

    x: Array
    label: Labels
    weight: Array


@register("phase", "fit")
class Fit:
    """estimator: logistic regression (linear), or a linear support vector machine (svm). c: 1 /
    regularisation, of standardised features.

    One pass over the train split without augmentation; the network below keeps its weights. The
    phase's other keys (epochs, optimizer, schedule, freeze) are not read.
    """

    one_pass = True

    def __init__(self, *, estimator: Estimator = "linear", c: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.estimator = estimator
        self.c = c

    def __call__(self, job: Job, phase: Phase, cursor: Cursor, resumed: Checkpoint | None) -> None:
        if cursor.epoch == 0:  # if it was broken off, it is done again
            fit_layers(job, cursor, self.estimator, self.c)


def fit_layers(job: Job, cursor: Cursor, estimator: Estimator, c: float) -> None:
    """Fit each linear layer of the task, put the results into the model, measure it on val, report
    and save.
    """
    clock = Clock(job.session.device)
    started = time.perf_counter()
    problems = collected(job, cursor, clock)
    seconds = max(1e-9, time.perf_counter() - started)
    summary = {"images_per_second": max(len(problem.x) for problem in problems.values()) / seconds}
    for name, problem in problems.items():
        accuracy = fit_layer(job, name, problem, estimator, c)
        key = "train_accuracy" if len(problems) == 1 else f"train_accuracy_{name}"
        summary[key] = accuracy
    clock.lap("optimizer")
    scores, improved = validate(job, cursor)
    clock.lap("evaluation")
    cursor.step += 1
    cursor.epoch = 1
    cursor.epochs_done += 1
    metrics = {"epoch": float(cursor.epochs_done), **summary, **scores, **clock.seconds()}
    report(job, cursor, metrics, improved)


def fit_layer(job: Job, name: str, problem: Problem, estimator: Estimator, c: float) -> float:
    """Fit one layer on rank 0 and put it into the model on every rank; return its accuracy on what
    it was fitted to.
    """
    task = linear_task(job)
    num_classes, seed = task.num_classes(name), job.recipe.seed
    layer = on_rank_0(job, lambda: fit_linear(estimator, c, *problem, num_classes, seed))
    for model in job.modules.values():
        task.set_linear(model, name, torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))
    return layer.accuracy(problem.x, problem.label)


def report(job: Job, cursor: Cursor, metrics: Mapping[str, float], improved: bool) -> None:
    """Report the phase's metrics and write its checkpoint."""
    points = [Point(cursor.step, time.time(), dict(metrics))]
    cursor.points += [asdict(point) for point in points]
    job.session.report(points)
    if job.session.rank == 0:
        checkpoint = Checkpoint(asdict(cursor), job.weights())
        job.session.checkpoints.save(cursor.step, checkpoint, improved)
    barrier()
    cursor.saved(job.session.report_seconds)


def linear_task(job: Job) -> Linear:
    """Return the job's task, which has linear layers: the check of the recipe refuses others."""
    if not isinstance(job.task, Linear):
        raise CvflowError(f"{job.recipe.task.name} has no linear layer to fit")
    return job.task


@torch.no_grad()
def collected(job: Job, cursor: Cursor, clock: Clock) -> dict[str, Problem]:
    """Return the features of an epoch's rows on every rank, in the order of the split.

    The samples of a row that comes n times in the epoch weigh n-fold.
    """
    session, task = job.session, job.task
    reader = job.dataset.split("train")
    order = task.sampler(job.recipe, job.info).order(reader, job.recipe.seed, cursor.epochs_done)
    indices, times = np.unique(np.asarray(order), return_counts=True)
    rows = Chosen(reader, indices.tolist(), times.tolist())
    transform = task.transforms(job.recipe, "test")
    batches: list[dict[str, Problem]] = []
    job.measured.eval()
    for batch in eval_batches(
        task,
        rows,
        transform,
        job.recipe.evaluate.batch_size,
        session.rank,
        session.world_size,
        session.loader_workers,
    ):
        clock.lap("data")
        if session.world_size == 1 and session.should_stop():
            raise InterruptedRunError(
                "stopped while features were collected; the same command collects them again"
            )
        batches.append(problems_of(job, batch))
        clock.lap("forward")
    if any(agree(session.should_stop())):
        raise InterruptedRunError(
            "stopped after features were collected; the same command collects them again"
        )
    return concatenated(in_order(gather(batches)))


def problems_of(job: Job, batch: RowBatch) -> dict[str, Problem]:
    """Return what the layers read of a batch; nothing if its rows have no sample."""
    if batch.batch is None:
        return {}
    on_device = batch.batch.to(job.session.device, channels_last=job.recipe.train.channels_last)
    times = np.array([batch.rows[owner][TIMES] for owner in batch.owners])
    problems = linear_task(job).problems(job.measured, on_device)
    return {name: as_arrays(features, times) for name, features in problems.items()}


def as_arrays(features: Features, times: Labels) -> Problem:
    """Return features in double precision on the host. times: how often each sample comes."""
    weight: Array = features.weight.double().cpu().numpy() * times
    return Problem(features.x.double().cpu().numpy(), features.label.cpu().numpy(), weight)


def in_order(ranks: Sequence[Sequence[dict[str, Problem]]]) -> Iterator[dict[str, Problem]]:
    """Yield the batches in the order of the split: batch i was on rank i mod W."""
    for number in range(max(map(len, ranks))):
        for batches in ranks:
            if number < len(batches):
                yield batches[number]


def concatenated(batches: Iterator[dict[str, Problem]]) -> dict[str, Problem]:
    """Return one problem for each name out of those of all batches."""
    parts: dict[str, list[Problem]] = {}
    for batch in batches:
        for name, problem in batch.items():
            parts.setdefault(name, []).append(problem)
    problems = {}
    for name, of_batches in parts.items():
        problems[name] = Problem(*(np.concatenate(column) for column in zip(*of_batches, strict=True)))
    return problems


def on_rank_0(job: Job, work: Callable[[], LinearLayer]) -> LinearLayer:
    """Do work on rank 0 and return its result on all; raise its error on all."""
    result: LinearLayer | CvflowError | None = None
    if job.session.rank == 0:
        try:
            result = work()
        except CvflowError as error:
            result = error
    first = gather(result)[0]
    if not isinstance(first, LinearLayer):
        raise first or CvflowError("the fit gave nothing")
    for line in first.warnings if job.session.rank == 0 else ():
        job.session.say(f"{line} Type a smaller train.kind.c.")
    return first


TIMES = "times"
"""The column that ``Chosen`` adds: how often a row comes in the epoch."""


class Chosen:
    """Some rows of a split, each with how often it comes."""

    def __init__(self, rows: Rows, indices: Sequence[int], times: Sequence[int]) -> None:
        self._rows = rows
        self._indices = indices
        self._times = times

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Row:
        return {**self._rows[self._indices[index]], TIMES: self._times[index]}

    def column(self, name: str) -> list[Any]:
        """One column of these rows."""
        values = self._rows.column(name)
        return [values[index] for index in self._indices]
