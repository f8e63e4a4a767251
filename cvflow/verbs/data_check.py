"""``cvflow data check``: a look at raw data without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvflow.dataset.prepare import inspect
from cvflow.dataset.validation import Validation
from cvflow.errors import Fault, RequestError
from cvflow.formats.recognise import read_as
from cvflow.project.plugins import use_plugins
from cvflow.project.writable import check_file
from cvflow.recipe.task_data import check_annotated
from cvflow.registry import Component, build, get
from cvflow.stages.prepare.data_page import data_page
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo
from cvflow.verbs.recognise_for_task import recognise_for


@dataclass(frozen=True)
class DataCheck:
    """What was seen. page: the HTML file."""

    format: str
    classes: tuple[str, ...]
    validation: Validation
    page: Path


def check_data(
    source: Path,
    format_name: str | None = None,
    task_name: str = "classification",
    out: Path = Path("data-check.html"),
    overrides: Mapping[str, Any] | None = None,
    plugins: Sequence[Path] = (),
) -> DataCheck:
    """Look at every image of the source and write the page. The source is only read.

    format_name: None = the first that reads it. overrides: its options, as
    ``data.format.<option>``. RequestError where none reads it, or where the page cannot be written.
    plugins: files that register components.
    """
    use_plugins(plugins)
    get("task", task_name, "--task")
    task: Task = build("task", Component(name=task_name))
    _check_out(out, source)
    options = _options(overrides or {})
    if format_name is None:
        component, reader = recognise_for(task_name, source, "PATH", options)
    else:
        get("format", format_name, "--format")
        component = Component(name=format_name, **options)
        reader = read_as(component, source)
        check_annotated(reader, task_name, task.schema)
    validation = inspect(reader, task.schema)
    classes = tuple(reader.classes)
    task.bind(
        DatasetInfo(
            task_name, classes, validation.counts, (), (), "", {"class_counts": validation.class_counts}
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        data_page(source.name or str(source), validation, task, f"Read as {component.name}"), encoding="utf-8"
    )
    return DataCheck(component.name, classes, validation, out)


def _options(overrides: Mapping[str, Any]) -> dict[str, Any]:
    start = "data.format."
    if strange := [key for key in overrides if not key.startswith(start)]:
        raise RequestError(
            *(
                Fault(key, "a key that data check does not read", f"an option of the format, {start}OPTION")
                for key in strange
            )
        )
    return {key.removeprefix(start): value for key, value in overrides.items()}


def _check_out(out: Path, source: Path) -> None:
    check_file(out)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise RequestError(
            Fault("--out", f"'{out}', inside the data", "a file elsewhere", "Type --out ../data-check.html.")
        )
