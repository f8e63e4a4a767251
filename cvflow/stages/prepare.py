"""prepare: any format in, the prepared dataset out."""

from __future__ import annotations

import sys

from cvflow.data.dataset import PreparedDataset
from cvflow.data.prepare import prepare as prepare_data
from cvflow.registry import build
from cvflow.stages.data_page import data_page
from cvflow.stages.run import Run
from cvflow.tasks.base import Task


def prepare(run: Run) -> None:
    """Write ``runs/<name>/data`` and the page ``data.html``; what was left out is named in both, and here in short.

    The page lies beside the data: how it looks is in no digest.
    """
    recipe, out = run.recipe, run.path("data")
    data = recipe.data
    task: Task = build("task", recipe.task)
    reader = build("format", data.format, data.source)
    validation = prepare_data(reader, task.schema, recipe.task.name, data.split, out, data.shard_mb, data.max_megapixels)
    task.bind(PreparedDataset(out).info)
    run.path("data.html").write_text(data_page("Validation", validation, task), encoding="utf-8")
    sys.stderr.write(f"{validation.summary()}\n")
