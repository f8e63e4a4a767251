"""The phases a training is made of. ``sgd``: gradient steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cvflow.config import Phase
from cvflow.data.loader import seed_of, train_batches
from cvflow.engine.checkpoint import Checkpoint, flatten_optimizer, unflatten_optimizer
from cvflow.engine.distributed import barrier, share_buffers
from cvflow.engine.evaluate import evaluate
from cvflow.engine.job import Job
from cvflow.engine.meter import Meter
from cvflow.engine.schedules import with_warmup
from cvflow.engine.session import Point, Progress
from cvflow.engine.step import Step, reduce
from cvflow.errors import Fault, RequestError
from cvflow.registry import build, register
from cvflow.types import Batch


@dataclass
class Cursor:
    """Where the training stands: phase index, epochs done in it and in all, global step, best score.

    points: those of the last epoch, so that a resumed run can report them again (steps are reported once).
    """

    phase: int = 0
    epoch: int = 0
    epochs_done: int = 0
    step: int = 0
    best: float | None = None
    points: list[dict[str, Any]] = field(default_factory=list)


Run = Callable[[Job, Phase, Cursor, Checkpoint | None], None]


@register("phase", "sgd")
def sgd() -> Run:
    """Epochs of gradient steps, each followed by an evaluation on val and a checkpoint."""
    return run_sgd


def run_sgd(job: Job, phase: Phase, cursor: Cursor, resumed: Checkpoint | None) -> None:
    session, recipe = job.session, job.recipe
    count = job.dataset.info.counts["train"]
    batch_size = min(recipe.train.batch_size, count)
    steps = count // batch_size
    optimizer = build("optimizer", phase.optimizer, trainable(job.model, phase))
    base_lr = optimizer.param_groups[0]["lr"]
    if resumed is not None:
        optimizer.load_state_dict(unflatten_optimizer(resumed.tensors["optimizer"], resumed.state["optimizer"]))
    factor = with_warmup(build("schedule", phase.schedule), round(phase.warmup_epochs * steps), phase.epochs * steps)
    step = Step(job.model, job.task)
    forward = DistributedDataParallel(step) if session.world_size > 1 else step
    meter = Meter(recipe.tracking.every, batch_size)
    while cursor.epoch < phase.epochs and not session.should_stop():
        set_mode(job.model, phase)
        meter.restart()
        for i, batch in enumerate(epoch_batches(job, cursor, batch_size)):
            lr = base_lr * factor(cursor.epoch * steps + i)
            for group in optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed(seed_of(recipe.seed, cursor.step, session.rank))  # dropout follows from the step
            losses = forward(batch.to(session.device))
            total, means = reduce(losses, session.world_size)
            optimizer.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cursor.step += 1
            if meter.add(cursor.step, tuple(losses), means, lr) and session.rank == 0:
                left = (phase.epochs - cursor.epoch) * steps - i - 1
                eta = left * batch_size / meter.speed
                session.progress(Progress(cursor.epoch + 1, phase.epochs, i + 1, steps, meter.speed, eta, meter.last))
        cursor.epoch += 1
        cursor.epochs_done += 1
        finish_epoch(job, cursor, meter, optimizer)


def epoch_batches(job: Job, cursor: Cursor, batch_size: int) -> Iterator[Batch]:
    """This rank's part of the epoch's global batches, in the order that (seed, epoch) fixes."""
    session, seed, reader = job.session, job.recipe.seed, job.dataset.split("train")
    order = job.task.sampler(job.recipe, job.info).order(len(reader), seed, cursor.epochs_done)
    transform = job.task.transforms(job.recipe, "train")
    return train_batches(
        job.task, reader, transform, order, batch_size, session.rank, session.world_size,
        cursor.epochs_done, seed, loader_workers=session.loader_workers,
    )  # fmt: skip


def finish_epoch(job: Job, cursor: Cursor, meter: Meter, optimizer: torch.optim.Optimizer) -> None:
    """Evaluate on val, report the points, write the checkpoint."""
    share_buffers(job.model)
    points = meter.flush()
    summary = {"epoch": float(cursor.epochs_done), "images_per_second": meter.speed}
    improved = False
    if job.info.counts.get("val", 0):
        scores = evaluate(job, "val", job.recipe.evaluate.batch_size).metrics
        objective = job.task.objective(job.recipe)
        score = scores[objective.metric]
        # of equals, the longer trained; NaN is no score
        improved = not math.isnan(score) and (cursor.best is None or not objective.better(cursor.best, score))
        cursor.best = score if improved else cursor.best
        summary |= {f"val_{name}": value for name, value in scores.items()}
    points.append(Point(cursor.step, time.time(), summary))
    cursor.points = [asdict(point) for point in points]
    job.session.report(points)
    if job.session.rank == 0:
        save(job, cursor, optimizer, improved)
    barrier()


def save(job: Job, cursor: Cursor, optimizer: torch.optim.Optimizer, best: bool) -> None:
    """Write the checkpoint of the present step."""
    tensors, data = flatten_optimizer(optimizer.state_dict())
    state = {**asdict(cursor), "optimizer": data}
    job.session.checkpoints.save(cursor.step, Checkpoint(state, {"model": job.model.state_dict(), "optimizer": tensors}), best)


def trainable(model: nn.Module, phase: Phase) -> list[nn.Parameter]:
    """The parameters that the phase trains; the others are frozen."""
    model.requires_grad_(True)
    if phase.freeze != "none":
        frozen_part(model, phase.freeze).requires_grad_(False)
    return [p for p in model.parameters() if p.requires_grad]


def set_mode(model: nn.Module, phase: Phase) -> None:
    """Training mode, a frozen part left in evaluation mode (its batch norms keep their averages)."""
    model.train()
    if phase.freeze != "none":
        frozen_part(model, phase.freeze).eval()


def frozen_part(model: nn.Module, name: str) -> nn.Module:
    part = getattr(model, name, None)
    if not isinstance(part, nn.Module):
        raise RequestError(Fault("train.freeze", f"'{name}'", f"a part of {type(model).__name__}", "Type train.freeze=none."))
    return part
