"""A whole training: the phases in turn, from the newest checkpoint on."""

from __future__ import annotations

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import Checkpoint
from cvflow.engine.distributed import barrier
from cvflow.engine.freeze import check_freezes
from cvflow.engine.job import Job, make_job
from cvflow.engine.phases import Cursor, Run
from cvflow.engine.session import Point, Session
from cvflow.registry import build


def train(recipe: Recipe, dataset: PreparedDataset, session: Session) -> Job:
    """Train to the end of the recipe's plan; the weights are in ``session.checkpoints``.

    Raises InterruptedRunError where the session asks to stop: what was trained is kept, the next call goes on from there.
    """
    job, plan = make_job(recipe, dataset, session), recipe.train.plan()
    check_freezes(job.model, plan)
    checkpoint = session.checkpoints.latest()
    barrier()  # all ranks have looked before rank 0 writes
    cursor = Cursor()
    if checkpoint is not None:
        cursor = restore(job, checkpoint)
    elif session.rank == 0:
        session.checkpoints.save(0, Checkpoint(vars(cursor), job.weights()))
    barrier()
    if checkpoint is not None and "optimizer" not in checkpoint.state:
        checkpoint = None  # the starting weights: no phase was begun
    for index in range(cursor.phase, len(plan)):
        run: Run = build("phase", plan[index].kind)
        run(job, plan[index], cursor, checkpoint)
        cursor.next_phase()
        checkpoint = None
    return job


def restore(job: Job, checkpoint: Checkpoint) -> Cursor:
    """Put the checkpoint's weights into the model; its points are reported again, in case they were lost."""
    job.load(checkpoint.tensors)
    cursor = Cursor(**{k: v for k, v in checkpoint.state.items() if k in Cursor.__dataclass_fields__})
    job.session.report([Point(**point) for point in cursor.points])
    cursor.saved(job.session.report_seconds)
    return cursor
