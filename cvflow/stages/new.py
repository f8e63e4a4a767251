"""``cvflow new``: a recipe and a run entry for the user's own data, by looking at it."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import yaml

from cvflow.data.images import ImageFault, decode
from cvflow.data.records import Record
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.registry import Component, get
from cvflow.runtime import dvc
from cvflow.stages.project import RECIPES, check_name, check_pipeline_is_ours, make_entry, slug, write_entry, write_pipeline
from cvflow.stages.recognised import recognise_for
from cvflow.stages.run import read_runs

LOOKED_AT = 64
"""Images opened to choose the model's size."""


def new_recipe(name: str, task: str, data: Path) -> tuple[Path, str]:
    """Write ``pipelines/NAME.yaml`` and its run; gives the file and what was seen in the data."""
    check_name(name, "NAME", f"Type 'cvflow new {slug(name)} ...'.")
    get("task", task, "--task")
    check_pipeline_is_ours()
    path = RECIPES / f"{name}.yaml"
    if path.exists() or name in read_runs():
        raise RequestError(Fault("NAME", f"'{name}', which exists", "a new name", f"Edit {path}, or type another name."))
    component, reader = recognise_for(task, data, "--data")
    records, classes = list(reader), tuple(reader.classes)
    sizes, faults = look(records)
    grey = bool(sizes) and all(size[2] == 1 for size in sizes)
    side = model_size([min(height, width) for height, width, _ in sizes])
    text = recipe_text(name, task, component, os.path.relpath(data, RECIPES), classes, side, 1 if grey else 3)
    dvc.initialise()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    write_pipeline()
    write_entry(name, make_entry(path, {}))
    listed = ", ".join([*classes[:8], *(["..."] if len(classes) > 8 else [])])
    looked = f"{faults} of {min(LOOKED_AT, len(records))} looked at unreadable"
    return (
        path,
        f"{len(records)} images, {len(classes)} classes ({listed}), {'grey' if grey else 'colour'}, read as {component.name}; {looked}",
    )


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


def model_size(short_sides: list[int]) -> int:
    """The model's image side: the power-of-two-like size at or above the median short side, at most 224 pixels."""
    if not short_sides:
        raise CvflowError("none of the images looked at could be read")
    return next((size for size in (32, 64, 96, 128, 160, 192) if size >= median(short_sides)), 224)


def recipe_text(name: str, task: str, component: Component, source: str, classes: tuple[str, ...], side: int, channels: int) -> str:
    """The recipe's YAML, with a header that says how to run it."""
    small = side <= 64
    backbone = {"name": "cifar_resnet", "depth": 20} if small else {"name": "torchvision", "model": "mobilenet_v2"}
    crop = {"name": "random_crop", "padding": max(2, side // 8)} if small else {"name": "random_resized_crop"}
    recipe = {
        "description": f"{len(classes)} classes from {Path(source).name}",
        "task": task,
        "data": {
            "format": component.model_dump() if component.options else component.name,
            "source": source,
            "split": {"val": 0.1, "test": 0.2},
        },
        "image": {"size": [side, side], "channels": channels, "resize": "stretch" if small else "crop"},
        "model": {"backbone": backbone},
        "train": {
            "epochs": 20,
            "batch_size": 32,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005},
            "schedule": "cosine",
            "warmup_epochs": 1,
            "augment": [crop, "horizontal_flip"],
        },
    }
    return f"# cvflow run {name}\n" + yaml.safe_dump(recipe, sort_keys=False)
