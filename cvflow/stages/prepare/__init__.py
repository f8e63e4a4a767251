"""prepare: any format in, the prepared dataset out."""

from __future__ import annotations

import json
import sys

from cvflow.dataset.prepare import prepare as prepare_data
from cvflow.dataset.prepared import PreparedDataset
from cvflow.project.graph import Run
from cvflow.recipe.task_data import check_annotated
from cvflow.registry import build
from cvflow.stages.prepare.data_page import data_page
from cvflow.tasks.base import Task


def prepare(run: Run) -> None:
    """Write ``runs/<name>/data``, ``validation.json`` and the page ``data.html``, which name what
    was left out; here it is in short.

    They lie beside the data: what is said of it, and how, is in no digest.
    """
    recipe, out = run.recipe, run.path("data")
    data = recipe.data
    task: Task = build("task", recipe.task)
    reader = build("format", data.format, data.source)
    check_annotated(reader, recipe.task.name, task.schema)
    validation = prepare_data(
        reader, task.schema, recipe.task.name, data.split, out, data.shard_mb, data.max_megapixels
    )
    task.bind(PreparedDataset(out).info)
    content = {"data": run.resolved["data"], **validation.plain()}
    run.path("validation.json").write_text(
        json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    run.path("data.html").write_text(data_page("Validation", validation, task), encoding="utf-8")
    sys.stderr.write(f"{validation.summary()}\n")
