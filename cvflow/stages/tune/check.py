"""A search checked against the typed recipe before anything starts: every fault at once, each with what to type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from cvflow.answers.base import Answer, objective_of
from cvflow.config import Compute, Data, Recipe, Search
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.engine.search.space import Space
from cvflow.engine.search.trials import Algorithm
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.project.graph import lookup
from cvflow.recipe.layers import leaves
from cvflow.registry import build
from cvflow.space import Dimension
from cvflow.stages.tune.trial_recipe import faults_with, with_params
from cvflow.types import DatasetInfo, Objective

SEARCHED = ("image", "model", "seed", "task", "train")
"""Sections whose keys may be searched: what a training reads."""
CHANGED_IN_TRAINING = ("train.optimizer.", "task.")
"""Keys that population-based training may change under way."""
INSIDE = 0.382
"""Of a range, a place whose value is whole where all are: a key that takes whole numbers takes the ends of uniform(1, 9) too."""
COMPARED_BY = "images to compare trials by"
EXAMPLE = "'train.optimizer.lr=loguniform(1e-4,1e-1)'"

ANY_DATA = DatasetInfo("", tuple(map(str, range(100))), {}, (0.5,) * 3, (0.25,) * 3, "")
"""Stands for data that are not prepared, where a model is built to see whether it can be."""


def check_search(base: Mapping[str, Any], search: Search) -> None:
    """base: the resolved recipe. Raises RequestError with every fault."""
    found = [
        *_keys(search),
        *_conditions(base, search),
        *_scheduler(base, search),
        *_unknown_metric(base, search),
    ]
    wrong = {fault.where for fault in found}
    found += [
        fault
        for key, dimension in search.space.items()
        if _at(key) not in wrong
        for fault in _values(base, key, dimension)
    ]
    sound = {
        key: dimension
        for key, dimension in search.space.items()
        if not any(_at(key) in fault.where.split() for fault in found)
    }
    if "train.epochs" in sound or "train.epochs" not in search.space:
        found += _size(base, search) if search.space else []
    found += _without_val(base)
    found += _unbuildable(base, search.model_copy(update={"space": sound}))
    if found:
        raise RequestError(*found)


def space_of(base: Mapping[str, Any], search: Search) -> Space:
    """The space, with what its conditions read of the recipe."""
    named = {key for dimension in search.space.values() for key in dimension.when if key not in search.space}
    return Space(search.space, {key: value_at(base, key) for key in named})


def algorithm_of(base: Mapping[str, Any], search: Search) -> Algorithm:
    made: Algorithm = build("searcher", search.algorithm, space_of(base, search), search.seed)
    return made


def value_at(base: Mapping[str, Any], key: str) -> Any:
    """The recipe's value at a dotted key; of a component its name. None where there is none."""
    try:
        value = lookup(base, key)
    except (KeyError, TypeError, IndexError, ValueError):
        return None
    return value["name"] if isinstance(value, dict) and "name" in value else value


def _at(key: str) -> str:
    return f"search.space.{key}"


def _keys(search: Search) -> Iterator[Fault]:
    """An empty space, and keys that no trial may have of its own."""
    if not search.space:
        yield Fault(
            "search.space",
            "nothing",
            "at least one key to search",
            f"Type {EXAMPLE}, or name keys in the recipe's search.space.",
        )
    for key in search.space:
        root = key.split(".")[0]
        if root == "data":
            got = f"'{key}', which would change the prepared data, and the test split with it"
            fix = "All trials share one dataset: type it as a plain value, for a search of its own."
            yield Fault(_at(key), got, "a key that training reads", fix)
        elif (
            root in Recipe.model_fields.keys() - set(SEARCHED)
            or root == "register"
            or key in ("task", "task.name")
        ):
            yield Fault(
                _at(key),
                f"'{key}'",
                f"a key that training reads: {one_of(SEARCHED)}",
                "Type it as a plain value.",
            )


def _conditions(base: Mapping[str, Any], search: Search) -> Iterator[Fault]:
    for key, dimension in search.space.items():
        for other in dimension.when:
            if other not in search.space and value_at(base, other) is None:
                hint = did_you_mean(other, search.space)
                yield Fault(_at(key), f"the condition '{other}'", "a key of the space or of the recipe", hint)


def _values(base: Mapping[str, Any], key: str, dimension: Dimension) -> Iterator[Fault]:
    """Each choice, and of a range its ends and a value between, put into the recipe with what its condition asks for."""
    given = fulfilled(dimension)
    said: set[str] = set()
    for value in (*dimension.values, dimension.at(INSIDE)):
        for fault in faults_with(base, {**given, key: value}):
            if str(fault) not in said:
                said.add(str(fault))
                below = fault.where.removeprefix(key).strip(".")
                fix = (
                    fault.fix or (_elsewhere(base, key) if below in ("", key) else "") or _as_whole(dimension)
                )
                yield Fault(" ".join(filter(None, (_at(key), below))), fault.got, fault.expected, fix)


def _as_whole(dimension: Dimension) -> str:
    """A hint where a range has whole ends but other values between."""
    low, high = dimension.values[0], dimension.values[-1]
    whole = dimension.kind.endswith("uniform") and isinstance(low, int) and isinstance(high, int)
    return f"Type {'log' * dimension.log}int({low},{high}) for whole numbers." if whole else ""


def fulfilled(dimension: Dimension) -> dict[str, Any]:
    """Values under which the dimension's condition holds."""
    return {
        key: wanted[0] if isinstance(wanted, list) and wanted else wanted
        for key, wanted in dimension.when.items()
    }


def _elsewhere(base: Mapping[str, Any], key: str) -> str:
    """A hint where a key of this name stands deeper in the same section."""
    section, name = key.partition(".")[0], key.rpartition(".")[2]
    found = [
        other
        for other, _ in leaves(base.get(section), f"{section}.")
        if other.endswith(f".{name}") and other != key
    ]
    return f"Did you mean '{found[0]}'?" if found else ""


def _scheduler(base: Mapping[str, Any], search: Search) -> Iterator[Fault]:
    """Population-based training changes params in the middle of a training, which not all can take."""
    if search.scheduler.name != "pbt":
        return
    if Compute.model_validate(base["compute"]).most > 1:
        yield Fault(
            "search.scheduler",
            "pbt with several workers a trial",
            "another scheduler",
            "Type compute.workers=0 or search.scheduler=asha.",
        )
    for key in search.space:
        if not key.startswith(CHANGED_IN_TRAINING):
            expected = f"with pbt, a key below {' or '.join(CHANGED_IN_TRAINING)}"
            yield Fault(_at(key), f"'{key}'", expected, "Type search.scheduler=asha, or leave the key out.")


def _size(base: Mapping[str, Any], search: Search) -> list[Fault]:
    """What the algorithm itself objects to, and a grid that is larger than asked for."""
    try:
        size = algorithm_of(base, search).size
    except RequestError as error:
        return list(error.faults)
    if size is None:
        return []
    found, fewer = [], "leave values out, or type --algorithm random."
    if search.samples is not None and size > search.samples:
        fix = f"Type --samples {size}, {fewer}"
        found.append(
            Fault(
                "search.samples",
                f"a grid of {size} points for {search.samples} trials",
                f"at least {size}",
                fix,
            )
        )
    epochs = least_epochs(base, search)
    if search.max_epochs is not None and (size - 1) * epochs >= search.max_epochs:  # the last could not begin
        got, needed = (
            f"{search.max_epochs} epochs for a grid of {size} points of {epochs} or more each",
            size * epochs,
        )
        found.append(
            Fault("search.max_epochs", got, f"at least {needed}", f"Type search.max_epochs={needed}, {fewer}")
        )
    return found


def least_epochs(base: Mapping[str, Any], search: Search) -> int:
    """Epochs that each trial takes at least: one where it may be ended early."""
    epochs = search.space.get("train.epochs")
    plan = Recipe.model_validate(
        with_params(base, {"train.epochs": min(epochs.values)} if epochs else {})
    ).train.plan()
    early = search.scheduler.name != "none" or any(phase.patience for phase in plan)
    return min(1, sum(phase.epochs for phase in plan)) if early else sum(phase.epochs for phase in plan)


def _unknown_metric(base: Mapping[str, Any], search: Search) -> list[Fault]:
    """As far as it can be said of any data."""
    recipe = Recipe.model_validate(with_params(base, {}))
    return _metric(build("task", recipe.task).answer, search)


def _without_val(base: Mapping[str, Any]) -> Iterator[Fault]:
    """Divisions that leave no val split, whatever the data; of data.split.val=0 the data decides, which may have one."""
    split = Data.model_validate(base["data"]).split
    if split.train_on_val:
        yield Fault(
            "data.split.train_on_val",
            "true, which leaves no val split",
            COMPARED_BY,
            "Type data.split.train_on_val=false.",
        )
    if split.test == 1:
        yield Fault(
            "data.split.test", "1, which leaves no val split", COMPARED_BY, "Type data.split.test=0.2."
        )


def _unbuildable(base: Mapping[str, Any], search: Search) -> list[Fault]:
    """Values that no model can be built with, as far as it can be said of any data: where the recipe's own model can be."""
    recipe = Recipe.model_validate(with_params(base, {}))
    return model_faults(base, search, ANY_DATA) if shaping(search) and builds(recipe, ANY_DATA) else []


def search_objective(base: Mapping[str, Any], search: Search, dataset: PreparedDataset) -> Objective:
    """What the search compares. Raises RequestError for a metric that no trial reports."""
    recipe = Recipe.model_validate(with_params(base, {}))
    task = make_task(recipe, dataset.info)
    if not dataset.info.counts.get("val", 0):
        raise RequestError(Fault("data.split.val", "no val split", COMPARED_BY, "Type data.split.val=0.1."))
    if faults := _metric(task.answer, search):
        raise RequestError(*faults)
    return objective_of(task.answer, search.metric)


def _metric(answer: Answer, search: Search) -> list[Fault]:
    """A metric that no trial reports."""
    reported = sorted({*answer.figures, "loss"})
    if search.metric in (None, *reported):
        return []
    objective = objective_of(answer).metric
    fix = did_you_mean(str(search.metric), reported) or f"Type search.metric={objective}."
    return [Fault("search.metric", f"'{search.metric}'", one_of(reported), fix)]


def check_models(base: Mapping[str, Any], search: Search, dataset: PreparedDataset) -> None:
    """Raise RequestError for every value that no model of these data can be built with."""
    if found := model_faults(base, search, dataset.info):
        raise RequestError(*found)


def model_faults(base: Mapping[str, Any], search: Search, info: DatasetInfo) -> list[Fault]:
    """A model is built, without memory, for each value that shapes one."""
    found: list[Fault] = []
    for key, dimension in shaping(search).items():
        given = fulfilled(dimension)
        for value in dimension.values:
            recipe = Recipe.model_validate(with_params(base, {**given, key: value}))
            try:
                build_model(recipe, info)
            except RequestError as error:
                found += [
                    Fault(f"{_at(key)} {fault.where}", fault.got, fault.expected, fault.fix)
                    for fault in error.faults
                ]
            except Exception as error:  # a builder may raise anything
                found.append(
                    Fault(
                        _at(key),
                        f"{value!r} ({error})",
                        "a value that a model can be built with",
                        "Leave it out.",
                    )
                )
    return found


def shaping(search: Search) -> dict[str, Dimension]:
    """Of the space, what a model's shape may depend on."""
    return {
        key: dimension for key, dimension in search.space.items() if key.split(".")[0] in ("model", "image")
    }


def build_model(recipe: Recipe, info: DatasetInfo) -> None:
    with torch.device("meta"):
        make_task(recipe, info).build(recipe, info)


def builds(recipe: Recipe, info: DatasetInfo) -> bool:
    try:
        build_model(recipe, info)
    except Exception:  # a builder may raise anything
        return False
    return True
