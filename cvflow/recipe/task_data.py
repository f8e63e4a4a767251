"""Whether what a format reads has the annotations that a task needs."""

from __future__ import annotations

from cvflow.errors import Fault, RequestError
from cvflow.formats.recognise import columns_in, lacking
from cvflow.formats.record import Format
from cvflow.registry import Component, build, names
from cvflow.types import Schema


def check_annotated(reader: Format, task: str, schema: Schema) -> None:
    """RequestError where the records have not what the task needs; it names what they have, and the
    tasks that this would do for.

    schema: the task's.
    """
    columns = columns_in(reader)
    lacks = lacking(columns, schema)
    if lacks:
        suitable_tasks = [name for name in names("task") if not lacking(columns, schema_of(name))]
        fix = f"They would do for {', '.join(suitable_tasks)}." if suitable_tasks else ""
        got, expected = (", ".join(sorted(found)) for found in (columns, lacks))
        raise RequestError(Fault("data.format", f"records of {got}", f"{expected}, which {task} needs", fix))


def schema_of(task: str) -> Schema:
    schema: Schema = build("task", Component(name=task)).schema
    return schema
