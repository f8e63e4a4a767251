"""``cvflow new``: a recipe and a run entry for the user's own data, by looking at it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cvflow.annotations.image import ImageFault, decode
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.formats.record import Record
from cvflow.project.graph import read_runs
from cvflow.project.plugins import file_of, use_plugins
from cvflow.project.project import (
    RECIPES,
    check_name,
    check_pipeline_is_ours,
    make_entry,
    slug,
    write_entry,
    write_pipeline,
)
from cvflow.registry import Component, build, get, names
from cvflow.runtime import dvc
from cvflow.tasks.base import Task
from cvflow.verbs.recognise_for_task import recognise_for
from cvflow.verbs.starters.base import Seen, Starter

LOOKED_AT = 64
"""Images opened to choose the model's size."""


def new_recipe(name: str, task: str, data: Path, plugins: Sequence[Path] = ()) -> tuple[Path, str]:
    """Write ``pipelines/NAME.yaml`` and its run; gives the file and what was seen in the data.

    plugins: files that register components. The recipe names those that its task and format come from.
    """
    use_plugins(plugins)
    check_name(name, "NAME", f"Type 'cvflow new {slug(name)} ...'.")
    get("task", task, "--task")
    check_pipeline_is_ours()
    path = RECIPES / f"{name}.yaml"
    if path.exists() or name in read_runs():
        raise RequestError(
            Fault("NAME", f"'{name}', which exists", "a new name", f"Edit {path}, or type another name.")
        )
    component, reader = recognise_for(task, data, "--data")
    records, classes = list(reader), tuple(reader.classes)
    sizes, faults = look(records)
    if not sizes:
        raise CvflowError("none of the images looked at could be read")
    grey = all(size[2] == 1 for size in sizes)
    built: Task = build("task", Component(name=task))
    seen = Seen([(height, width) for height, width, _ in sizes], len(classes))
    named = f"{len(classes)} {'identities' if built.schema.identity else 'classes'}" if classes else ""
    head = {
        "description": f"{named or task} from {data.resolve().name}",
        **plugins_section(task, component),
        "task": task,
        "data": data_section(component, data),
    }
    text = recipe_text(name, head, seen, 1 if grey else 3, starter(task, seen))
    dvc.initialise()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    write_pipeline()
    write_entry(name, make_entry(path, {}))
    listed = ", ".join([*classes[:8], *(["..."] if len(classes) > 8 else [])])
    count = f"{len(records)} {'images' if len(built.schema.images) == 1 else 'pairs'}"
    looked = f"{faults} of {min(LOOKED_AT, len(records))} looked at unreadable"
    colours = "grey" if grey else "colour"
    return path, ", ".join(
        [count, *([f"{named} ({listed})"] if named else []), colours, f"read as {component.name}; {looked}"]
    )


def starter(task: str, seen: Seen) -> Starter:
    """Return what the task's recipe begins with; a task without a starter of its own begins as
    every recipe does.
    """
    if task not in names("starter"):
        return {}
    sections: Starter = get("starter", task)(seen)
    return sections


def look(records: list[Record]) -> tuple[list[tuple[int, int, int]], int]:
    """(height, width, 1 if grey else 3) of some images spread over the data; how many could not be read."""
    sizes, faults = [], 0
    for record in records[:: max(1, len(records) // LOOKED_AT)][:LOOKED_AT]:
        for read in record.images.values():
            try:
                pixels = decode(read())
            except (ImageFault, OSError):
                faults += 1
                continue
            grey = bool((pixels[..., :1] == pixels).all())
            sizes.append((pixels.shape[0], pixels.shape[1], 1 if grey else 3))
    return sizes, faults


def data_section(component: Component, data: Path) -> dict[str, Any]:
    """What reads the data, and how they are split where they are not."""
    return {
        "format": component.model_dump() if component.options else component.name,
        "source": os.path.relpath(data, RECIPES),
        "split": {"val": 0.1, "test": 0.2},
    }


def plugins_section(task: str, format: Component) -> dict[str, Any]:
    """Return the key ``plugins``, if the task or the format comes from a plug-in."""
    files = [file_of(get("task", task)), file_of(get("format", format.name))]
    paths = [os.path.relpath(file, RECIPES) for file in dict.fromkeys(files) if file is not None]
    return {"plugins": paths} if paths else {}


def recipe_text(name: str, head: Mapping[str, Any], seen: Seen, channels: int, own: Mapping[str, Any]) -> str:
    """The recipe's YAML, with a header that says how to run it. own: the task's sections, laid over
    those of every task.
    """
    usual: dict[str, Any] = {
        "image": {"size": [seen.side, seen.side], "channels": channels},
        "model": {},
        "train": {
            "epochs": 20,
            "batch_size": 32,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005},
            "schedule": "cosine",
            "warmup_epochs": 1,
        },
    }
    sections = {key: {**usual.get(key, {}), **own.get(key, {})} for key in {**usual, **own}}
    return f"# cvflow run {name}\n" + yaml.safe_dump(
        {**head, **{k: v for k, v in sections.items() if v}}, sort_keys=False
    )
