"""A whole training: the phases in turn, from the newest checkpoint on."""

from __future__ import annotations

from cvflow.config import Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.engine.checkpoint import Checkpoint
from cvflow.engine.distributed import barrier
from cvflow.engine.job import Job, make_job
from cvflow.engine.phases import Cursor, Run
from cvflow.engine.session import Point, Session
from cvflow.registry import build


def train(recipe: Recipe, dataset: PreparedDataset, session: Session) -> Job:
    """Train to the end of the recipe's plan; the weights are in ``session.checkpoints``."""
    job = make_job(recipe, dataset, session)
    checkpoint = session.checkpoints.latest()
    barrier()  # all ranks have looked before rank 0 writes
    cursor = Cursor()
    if checkpoint is not None:
        cursor = restore(job, checkpoint)
    elif session.rank == 0:
        session.checkpoints.save(0, Checkpoint(vars(cursor), {"model": job.model.state_dict(), "optimizer": {}}))
    barrier()
    plan = recipe.train.plan()
    for index in range(cursor.phase, len(plan)):
        run: Run = build("phase", plan[index].kind)
        run(job, plan[index], cursor, checkpoint if cursor.step else None)
        if session.should_stop():
            break
        cursor.phase, cursor.epoch, checkpoint = index + 1, 0, None
    return job


def restore(job: Job, checkpoint: Checkpoint) -> Cursor:
    """Put the checkpoint's weights into the model; its points are reported again, in case they were lost."""
    job.model.load_state_dict(checkpoint.tensors["model"])
    cursor = Cursor(**{k: v for k, v in checkpoint.state.items() if k in Cursor.__dataclass_fields__})
    job.session.report([Point(**point) for point in cursor.points])
    return cursor
