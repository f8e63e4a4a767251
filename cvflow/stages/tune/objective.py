"""What the trials of a search are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.answers.base import Answer, objective_of
from cvflow.config import Data, Recipe, Search
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.registry import build
from cvflow.stages.tune.trial_recipe import with_params
from cvflow.types import Objective

COMPARED_BY = "images to compare trials by"


def search_objective(base: Mapping[str, Any], search: Search, dataset: PreparedDataset) -> Objective:
    """Return what the search compares. Raises RequestError for a metric that no trial reports."""
    recipe = Recipe.model_validate(with_params(base, {}))
    task = make_task(recipe, dataset.info)
    if not dataset.info.counts.get("val", 0):
        fix = "Type data.split.val=0.1."
        raise RequestError(Fault("data.split.val", "no val split", COMPARED_BY, fix))
    faults = metric_faults(task.answer, search)
    if faults:
        raise RequestError(*faults)
    return objective_of(task.answer, search.metric)


def early_metric_faults(base: Mapping[str, Any], search: Search) -> list[Fault]:
    """Return a fault for a metric that no trial reports, whatever the data."""
    recipe = Recipe.model_validate(with_params(base, {}))
    return metric_faults(build("task", recipe.task).answer, search)


def metric_faults(answer: Answer, search: Search) -> list[Fault]:
    """Return a fault if no trial reports the search's metric."""
    reported = sorted({*answer.figures, "loss"})
    if search.metric in (None, *reported):
        return []
    objective = objective_of(answer).metric
    fix = did_you_mean(str(search.metric), reported) or f"Type search.metric={objective}."
    return [Fault("search.metric", f"'{search.metric}'", one_of(reported), fix)]


def val_split_faults(base: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for each setting that leaves no val split, whatever the data.

    With data.split.val=0 there may still be one: the data may bring it.
    """
    faults = []
    split = Data.model_validate(base["data"]).split
    if split.train_on_val:
        got = "true, which leaves no val split"
        fix = "Type data.split.train_on_val=false."
        faults.append(Fault("data.split.train_on_val", got, COMPARED_BY, fix))
    if split.test == 1:
        got = "1, which leaves no val split"
        faults.append(Fault("data.split.test", got, COMPARED_BY, "Type data.split.test=0.2."))
    return faults
