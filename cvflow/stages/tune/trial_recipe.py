"""A trial's recipe: the search's own, with the trial's params in their places."""

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
    """Dotted params as a recipe writes them; a component's name comes before its options."""
    data: dict[str, Any] = {}
    for key in sorted(params, key=lambda key: key.count(".")):
        data = merge(data, nest(key.split("."), params[key]))
    return data


def with_params(base: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved recipe with the params, as plain data; options of a component that changed are its own defaults."""
    return merge({key: value for key, value in base.items() if key != "cvflow"}, nested(params))


def faults_with(base: Mapping[str, Any], params: Mapping[str, Any]) -> list[Fault]:
    """What the typed recipe has against the params."""
    try:
        recipe = Recipe.model_validate(with_params(base, params))
    except ValidationError as error:
        return faults_of(error, Recipe)
    return option_faults(recipe)


def trial_recipe(base: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker is sent. Raises RequestError where the params together make no recipe."""
    if faults := faults_with(base, params):
        raise RequestError(*faults)
    return as_shipped(Recipe.model_validate(with_params(base, params)))


class WithoutTest(PreparedDataset):
    """A prepared dataset whose test split cannot be read: a search must not choose by it."""

    def split(self, name: str) -> ShardReader:
        if name == "test":
            raise CvflowError("a trial of a search asked for the test split")
        return super().split(name)


def trial_worker(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """On each rank of a trial: train to the end of its plan."""
    train_loop(Recipe.model_validate(recipe), WithoutTest(Path(dataset)), session)
