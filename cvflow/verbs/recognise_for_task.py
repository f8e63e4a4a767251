"""Which format reads data for a task; where none does, for which task one would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvflow.errors import Fault, RequestError
from cvflow.formats.recognise import is_recognised, recognise
from cvflow.formats.record import Format
from cvflow.recipe.task_data import schema_of
from cvflow.registry import Component, names


def recognise_for(
    task: str, data: Path, where: str, options: Mapping[str, Any] | None = None
) -> tuple[Component, Format]:
    """Return the surest format that reads the data and has what the task needs.

    RequestError if there is none. It names the tasks that the data would do for, if no reader of
    this task finds its layout.
    """
    schema = schema_of(task)
    try:
        return recognise(data, where, options, schema)
    except RequestError:
        # what a reader of the asked task objects to is what the user can mend
        if not data.exists() or is_recognised(data, schema):
            raise
        other_tasks = _others(data)
        if not other_tasks:
            raise
    fix = f"Type --task {' or --task '.join(other_tasks)}."
    raise RequestError(Fault("--task", f"'{task}'", "a task that these data have the annotations for", fix))


def _others(data: Path) -> list[str]:
    """The tasks that some format reads the data for."""
    return [name for name in names("task") if _reads(data, name)]


def _reads(data: Path, task: str) -> bool:
    try:
        recognise(data, schema=schema_of(task))
    except RequestError:
        return False
    return True
