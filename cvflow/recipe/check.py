"""What a recipe asks for, checked: every fault at once, each with the key that it is about.

The check is one descent through the recipe's components, which also fills in their options, and
then a list of rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cvflow.config import Recipe, Section
from cvflow.engine.closures import plan_faults
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.recipe.layers import Layered
from cvflow.registry import assign, build, check, components_in

if TYPE_CHECKING:  # torch; an unchanged run imports none of it
    from cvflow.tasks.base import Task

Rule = Callable[[Recipe], list[Fault]]


def check_recipe(recipe: Recipe) -> tuple[dict[str, Any], list[Fault]]:
    """Return the recipe as plain data with every component's defaults filled in, and the faults of
    all rules.
    """
    filled, faults = fill_components(recipe)
    for rule in RULES:
        faults += rule(recipe)
    return filled, faults


def option_faults(recipe: Recipe) -> list[Fault]:
    """Return the faults of the components and of the rules that read the recipe alone, no file."""
    faults = fill_components(recipe)[1]
    for rule in RECIPE_RULES:
        faults += rule(recipe)
    return faults


def fill_components(recipe: Recipe) -> tuple[dict[str, Any], list[Fault]]:
    """Return the recipe as plain data, each component in its checked form with defaults, and the
    components' faults.
    """
    filled = recipe.model_dump(mode="json", by_alias=True)
    faults: list[Fault] = []
    for prefix, section, in_recipe in sections_of(recipe):
        for path, kind, component in components_in(section):
            where = f"{prefix}{path}"
            data, component_faults = check(kind, component, where)
            faults += component_faults
            if path.partition(".")[0] in in_recipe:
                assign(filled, where.split("."), data)
    return filled, faults


def sections_of(recipe: Recipe) -> Iterator[tuple[str, Section, Mapping[str, Any]]]:
    """Yield (prefix of its keys, section, the keys that the recipe has) of the recipe and of each
    phase that it lists.

    A phase is checked whole, as training takes it; what it does not name itself is filled in where
    the recipe names it.
    """
    yield "", recipe, recipe.model_dump(by_alias=True)
    if recipe.train.phases:
        for index, (phase, keys) in enumerate(zip(recipe.train.plan(), recipe.train.phases, strict=True)):
            yield f"train.phases.{index}.", phase, keys


def enough_samples(recipe: Recipe) -> list[Fault]:
    """Each of the most workers there may be needs a sample of every batch."""
    return worker_faults(recipe, recipe.train.batch_size)


def worker_faults(recipe: Recipe, samples: int) -> list[Fault]:
    """Return a fault if a batch is too small for the most workers there may be. samples: how many
    there are at most.
    """
    most = recipe.compute.most
    size = min(recipe.train.batch_size, samples)
    if size >= most:
        return []
    expected = f"a sample or more for each of {most} workers"
    fix = "Type a greater train.batch_size or fewer compute.workers."
    return [Fault("train.batch_size", f"batches of {size}", expected, fix)]


def closures_are_possible(recipe: Recipe) -> list[Fault]:
    """An optimiser that needs a closure excludes some keys of train."""
    return plan_faults(recipe.train)


def task_can_do_it(recipe: Recipe) -> list[Fault]:
    """What the task cannot do in a recipe whose options are right one by one; nothing if its own
    options are wrong.
    """
    if check("task", recipe.task, "task")[1]:
        return []
    # torch comes with the tasks; an unchanged run imports none of it
    from cvflow.recipe.refusals import refusals

    task: Task = build("task", recipe.task)
    return refusals(recipe, task) or promotion_faults(recipe, task)


def promotion_faults(recipe: Recipe, task: Task) -> list[Fault]:
    """Return a fault if the promotion rule names a metric that the task never has, whatever the data."""
    from cvflow.answers.base import is_loss

    metric = recipe.register_.promote.metric
    figures = task.answer.figures
    if metric is None or metric in figures or is_loss(metric):
        return []
    objective = next(iter(figures))
    fix = did_you_mean(metric, figures) or f"Type register.promote.metric={objective}."
    return [Fault("register.promote.metric", f"'{metric}'", one_of(sorted(figures)), fix)]


def files_exist(recipe: Recipe) -> list[Fault]:
    """The paths that a recipe names must be there."""
    source, weights = recipe.data.source, recipe.model.weights
    faults = []
    if source is not None and not source.exists():
        faults.append(_no_path("data.source", source, "a file or folder that exists"))
    if weights is not None and not weights.is_file():
        faults.append(_no_path("model.weights", weights, "a file that exists"))
    return faults


def _no_path(key: str, path: Path, expected: str) -> Fault:
    fix = f"Paths are relative to the recipe file. Type {key}=PATH."
    return Fault(key, f"'{path}'", expected, fix)


def data_can_be_read(recipe: Recipe) -> list[Fault]:
    """What the format objects to in the source, and what the task cannot do with it.

    Formats look at names here, and open no image. Nothing if the data section has other faults.
    """
    has_faults = check("format", recipe.data.format, "data.format")[1] or files_exist(recipe)
    if any(fault.where.startswith("data") for fault in has_faults):
        return []
    try:
        reader = build("format", recipe.data.format, recipe.data.source)
        if check("task", recipe.task, "task")[1]:
            return []
        from cvflow.recipe.refusals import data_refusals

        return data_refusals(recipe, build("task", recipe.task), reader)
    except RequestError as error:
        return [_of_the_source(fault) for fault in error.faults]
    except Exception as error:  # a user's format can raise anything
        got = f"{type(error).__name__}: {error}"
        return [Fault("data.source", got, f"what the format '{recipe.data.format.name}' reads")]


def _of_the_source(fault: Fault) -> Fault:
    if fault.where.startswith("data."):
        return fault
    return replace(fault, where=f"data.source {fault.where}")


RECIPE_RULES: tuple[Rule, ...] = (closures_are_possible, enough_samples, task_can_do_it)
"""What reads the recipe alone."""
RULES: tuple[Rule, ...] = (*RECIPE_RULES, files_exist, data_can_be_read)


def without(data: dict[str, Any], error: ValidationError) -> Recipe | None:
    """Return the recipe less its faulty keys, so that the rest is checked in the same go; None if
    that is no recipe.
    """
    rest = deepcopy(data)
    for item in error.errors(include_url=False):
        holder, key, value = rest, "", rest
        # down to the last mapping: an item of a list goes with its list
        for part in item["loc"]:
            if isinstance(value, dict) and part in value:
                holder, key, value = value, str(part), value[part]
        holder.pop(key, None)
    try:
        return Recipe.model_validate(rest)
    except ValidationError:
        return None


def located(fault: Fault, layered: Layered) -> Fault:
    """Return the fault with the file and line of its key in front."""
    where = layered.where(fault.where.partition(" ")[0])
    return replace(fault, where=f"{where} {fault.where}".strip())


def plugin_paths(data: Mapping[str, Any]) -> list[str]:
    """Return the plugin files of a recipe not yet checked."""
    plugins = data.get("plugins")
    if not isinstance(plugins, list):
        return []
    return [path for path in plugins if isinstance(path, str)]


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
