"""prepare: any format in, the prepared dataset out."""

from __future__ import annotations

import sys

from cvflow.data.prepare import prepare as prepare_data
from cvflow.registry import build
from cvflow.stages.run import Run
from cvflow.tasks.base import Task


def prepare(run: Run) -> None:
    """Write ``runs/<name>/data``; what was left out is named in its validation.json and .html, and here in short."""
    recipe = run.recipe
    task: Task = build("task", recipe.task)
    reader = build("format", recipe.data.format, recipe.data.source)
    validation = prepare_data(reader, task.schema, recipe.task.name, recipe.data.split, run.path("data"), recipe.data.shard_mb)
    sys.stderr.write(f"{validation.summary()}\n")
