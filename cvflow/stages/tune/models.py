"""Whether a model can be built with each value of a search: built without memory, before any trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cvflow.config import Recipe, Search
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.errors import Fault, RequestError
from cvflow.space import Dimension
from cvflow.stages.tune.space import fulfilled, space_key
from cvflow.stages.tune.trial_recipe import with_params
from cvflow.types import DatasetInfo

SHAPING = ("model", "image")
"""Sections whose keys a model's shape may depend on."""
ANY_DATA = DatasetInfo(
    task="",
    classes=tuple(map(str, range(100))),
    counts={},
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    source_digest="",
)
"""Stands for data that are not prepared yet."""


def check_models(base: Mapping[str, Any], search: Search, dataset: PreparedDataset) -> None:
    """Raise RequestError with a fault for each value that no model of these data can be built with."""
    faults = model_faults(base, search, dataset.info)
    if faults:
        raise RequestError(*faults)


def early_model_faults(base: Mapping[str, Any], search: Search) -> list[Fault]:
    """Return a fault for each value that no model can be built with, as far as is known without data.

    Nothing is known if the recipe's own model cannot be built without data.
    """
    if not shaping(search):
        return []
    recipe = Recipe.model_validate(with_params(base, {}))
    if not builds(recipe, ANY_DATA):
        return []
    return model_faults(base, search, ANY_DATA)


def model_faults(base: Mapping[str, Any], search: Search, info: DatasetInfo) -> list[Fault]:
    """Build a model for each value that shapes one, and return a fault for each that fails."""
    faults: list[Fault] = []
    for key, dimension in shaping(search).items():
        for value in dimension.values:
            params = {**fulfilled(dimension), key: value}
            recipe = Recipe.model_validate(with_params(base, params))
            faults += _faults_of_value(recipe, info, key, value)
    return faults


def _faults_of_value(recipe: Recipe, info: DatasetInfo, key: str, value: Any) -> list[Fault]:
    where = space_key(key)
    try:
        build_model(recipe, info)
    except RequestError as error:
        return [Fault(f"{where} {f.where}", f.got, f.expected, f.fix) for f in error.faults]
    except Exception as error:  # a builder may raise anything
        expected = "a value that a model can be built with"
        return [Fault(where, f"{value!r} ({error})", expected, "Leave it out.")]
    return []


def shaping(search: Search) -> dict[str, Dimension]:
    """Return the dimensions of the space that a model's shape may depend on."""
    dimensions = {}
    for key, dimension in search.space.items():
        section = key.split(".")[0]
        if section in SHAPING:
            dimensions[key] = dimension
    return dimensions


def build_model(recipe: Recipe, info: DatasetInfo) -> None:
    """Build the recipe's model without memory for its weights."""
    with torch.device("meta"):
        task = make_task(recipe, info)
        task.build(recipe, info)


def builds(recipe: Recipe, info: DatasetInfo) -> bool:
    """Whether the recipe's model can be built."""
    try:
        build_model(recipe, info)
    except Exception:  # a builder may raise anything
        return False
    return True
