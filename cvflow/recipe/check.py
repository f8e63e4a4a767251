"""What a recipe asks for, checked: every fault at once, each with the key that it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cvflow.config import Recipe, Section
from cvflow.engine.closures import plan_faults
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.recipe.layers import Layered
from cvflow.registry import build, check, components_in

if TYPE_CHECKING:  # torch; an unchanged run imports none of it
    from cvflow.tasks.base import Task


def option_faults(recipe: Recipe, filled: dict[str, Any] | None = None) -> list[Fault]:
    """The faults of all components' options. filled: the recipe as plain data, which gets their defaults."""
    faults = _fill(recipe, {} if filled is None else filled, "")
    for index, phase in enumerate(recipe.train.plan() if recipe.train.phases else ()):
        faults += _fill(phase, {}, f"train.phases.{index}.")
    return faults + plan_faults(recipe.train) + worker_faults(recipe) + task_faults(recipe)


def worker_faults(recipe: Recipe, images: int | None = None) -> list[Fault]:
    """Each of the most workers there may be needs a sample of every batch. images: of the train split, where it is known."""
    batch, most = recipe.train.batch_size, recipe.compute.most
    size = batch if images is None else min(batch, images)
    if size >= most:
        return []
    fix = "Type a greater train.batch_size or fewer compute.workers."
    return [
        Fault("train.batch_size", f"batches of {size}", f"a sample or more for each of {most} workers", fix)
    ]


def task_faults(recipe: Recipe) -> list[Fault]:
    """What the task objects to in a recipe whose options are right one by one; nothing where its own are not."""
    if check("task", recipe.task, "task")[1]:
        return []
    # torch comes with the tasks; an unchanged run imports none of it
    from cvflow.recipe.refusals import refusals

    task: Task = build("task", recipe.task)
    return refusals(recipe, task) or promotion_faults(recipe, task)


def promotion_faults(recipe: Recipe, task: Task) -> list[Fault]:
    """A metric of the promotion rule that is none of the task's, whatever the data."""
    from cvflow.answers.base import is_loss

    metric = recipe.register_.promote.metric
    figures = task.answer.figures
    if metric is None or metric in figures or is_loss(metric):
        return []
    objective = next(iter(figures))
    fix = did_you_mean(metric, figures) or f"Type register.promote.metric={objective}."
    return [Fault("register.promote.metric", f"'{metric}'", one_of(sorted(figures)), fix)]


def without(data: dict[str, Any], error: ValidationError) -> Recipe | None:
    """The recipe less its faulty keys, so that the rest can be checked in the same go; None where that is no recipe."""
    rest = deepcopy(data)
    for item in error.errors(include_url=False):
        holder, last, value = rest, "", rest
        for part in item["loc"]:  # down to the last mapping: an item of a list goes with its list
            if isinstance(value, dict) and part in value:
                holder, last, value = value, str(part), value[part]
        holder.pop(last, None)
    try:
        return Recipe.model_validate(rest)
    except ValidationError:
        return None


def _fill(section: Section, filled: dict[str, Any], prefix: str) -> list[Fault]:
    """Replace each component in ``filled`` by its checked form with defaults; gives the faults."""
    faults: list[Fault] = []
    for path, kind, component in components_in(section):
        data, found = check(kind, component, f"{prefix}{path}")
        faults += found
        name, _, index = path.partition(".")
        if index and name in filled:
            filled[name][int(index)] = data
        else:
            filled[name] = data
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            faults += _fill(value, filled.get(info.alias or name, {}), f"{prefix}{info.alias or name}.")
    return faults


def missing_files(recipe: Recipe) -> list[Fault]:
    """Faults for paths that are not there."""
    source, weights = recipe.data.source, recipe.model.weights
    absent = [
        ("data.source", source, "a file or folder that exists", source is None or source.exists()),
        ("model.weights", weights, "a file that exists", weights is None or weights.is_file()),
    ]
    fix = "Paths are relative to the recipe file. Type {}=PATH."
    return [
        Fault(key, f"'{path}'", expected, fix.format(key))
        for key, path, expected, there in absent
        if not there
    ]


def reader_faults(recipe: Recipe) -> list[Fault]:
    """What the format objects to in the source, and the task in what is there. Formats look at names here, and open no image."""
    try:
        reader = build("format", recipe.data.format, recipe.data.source)
        if check("task", recipe.task, "task")[1]:
            return []
        from cvflow.recipe.refusals import data_refusals

        return data_refusals(recipe, build("task", recipe.task), reader)
    except RequestError as error:
        return [
            f if f.where.startswith("data.") else replace(f, where=f"data.source {f.where}")
            for f in error.faults
        ]
    except Exception as error:  # a user's format can raise anything
        got = f"{type(error).__name__}: {error}"
        return [Fault("data.source", got, f"what the format '{recipe.data.format.name}' reads")]


def located(fault: Fault, layered: Layered) -> Fault:
    where = layered.where(fault.where.partition(" ")[0])
    return Fault(f"{where} {fault.where}".strip(), fault.got, fault.expected, fault.fix)


def plugin_paths(data: Mapping[str, Any]) -> list[str]:
    """The plugin files of a recipe not yet checked."""
    named = data.get("plugins")
    return [path for path in named if isinstance(path, str)] if isinstance(named, list) else []


def file_digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
