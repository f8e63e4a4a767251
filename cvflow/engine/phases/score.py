"""What a phase has reached: the objective on val, and whether it is the best so far."""

from __future__ import annotations

import math
from dataclasses import replace

from cvflow.answers.base import objective_of
from cvflow.engine.distributed import share_buffers
from cvflow.engine.evaluate import evaluate
from cvflow.engine.job import Job
from cvflow.engine.phases import Cursor


def validate(job: Job, cursor: Cursor) -> tuple[dict[str, float], bool]:
    """(metrics on val, whether they are the best so far); of equals, the longer trained; NaN is no score."""
    share_buffers(job.model)
    if not job.info.counts.get("val", 0):
        return {}, False
    if job.measured is not job.model:
        share_buffers(job.measured)
        job = replace(job, model=job.measured)
    scores = evaluate(job, "val", job.recipe.evaluate.batch_size).metrics
    objective = objective_of(job.task.answer)
    score = scores[objective.metric]
    better = not math.isnan(score) and (cursor.best is None or objective.better(score, cursor.best))
    improved = better or score == cursor.best
    cursor.best = score if improved else cursor.best
    cursor.stale = 0 if better else cursor.stale + 1
    cursor.scores.append(score if objective.direction == "max" else -score)
    return {f"val_{name}": value for name, value in scores.items()}, improved
