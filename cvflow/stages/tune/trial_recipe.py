"""A trial's recipe: the one that is searched, with the trial's params in their places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cvflow.config import Recipe, merge
from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.shards import ShardReader
from cvflow.engine.loop import train as train_loop
from cvflow.engine.session import Session
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.recipe.check import option_faults
from cvflow.recipe.layers import nest
from cvflow.registry import faults_of
from cvflow.stages.train import as_shipped


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted params as a recipe writes them."""

    def depth(key: str) -> int:
        return key.count(".")

    data: dict[str, Any] = {}
    # a component's name comes before its options, which a new name would reset
    for key in sorted(params, key=depth):
        data = merge(data, nest(key.split("."), params[key]))
    return data


def with_params(base: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved recipe with the params, as plain data.

    A component whose name changed has its own default options.
    """
    recipe = {key: value for key, value in base.items() if key != "cvflow"}
    return merge(recipe, nested(params))


def faults_with(base: Mapping[str, Any], params: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the typed recipe once it has the params."""
    try:
        recipe = Recipe.model_validate(with_params(base, params))
    except ValidationError as error:
        return faults_of(error, Recipe)
    return option_faults(recipe)


def trial_recipe(base: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe that a worker is sent. Raises RequestError if the params do not go together."""
    faults = faults_with(base, params)
    if faults:
        raise RequestError(*faults)
    recipe = Recipe.model_validate(with_params(base, params))
    return as_shipped(recipe)


class WithoutTest(PreparedDataset):
    """A prepared dataset whose test split cannot be read: a search must not choose by it."""

    def split(self, name: str) -> ShardReader:
        """Return a split. Raises CvflowError for test."""
        if name == "test":
            raise CvflowError("a trial of a search asked for the test split")
        return super().split(name)


def trial_worker(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """Train to the end of the trial's plan; runs on each rank."""
    typed = Recipe.model_validate(recipe)
    without_test = WithoutTest(Path(dataset))
    train_loop(typed, without_test, session)
