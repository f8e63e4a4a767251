"""A whole training: one phase after the other, from the newest checkpoint on."""

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

    Raises InterruptedRunError if the session asks to stop: what was trained is kept, and the next
    call goes on from there.
    """
    job = make_job(recipe, dataset, session)
    plan = recipe.train.plan()
    check_freezes(job.model, plan)
    checkpoint = session.checkpoints.latest()
    # all ranks must have looked before rank 0 writes
    barrier()
    cursor = Cursor()
    if checkpoint is not None:
        cursor = restore(job, checkpoint)
    elif session.rank == 0:
        session.checkpoints.save(0, Checkpoint(vars(cursor), job.weights()))
    barrier()
    if checkpoint is not None and "optimizer" not in checkpoint.state:
        # the starting weights, or those of a phase without an optimiser: nothing to go on with
        checkpoint = None
    for phase in plan[cursor.phase :]:
        run: Run = build("phase", phase.kind)
        run(job, phase, cursor, checkpoint)
        cursor.next_phase()
        checkpoint = None
    return job


def restore(job: Job, checkpoint: Checkpoint) -> Cursor:
    """Load the checkpoint's weights and report its points again, in case they were lost."""
    job.load(checkpoint.tensors)
    cursor = Cursor()
    # the state of a checkpoint holds more than the cursor, and an older one may lack a field
    for name in vars(cursor):
        if name in checkpoint.state:
            setattr(cursor, name, checkpoint.state[name])
    job.session.report([Point(**point) for point in cursor.points])
    cursor.saved(job.session.report_seconds)
    return cursor
