"""Whether the limits of a search allow for its grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.config import Recipe, Search
from cvflow.errors import Fault, RequestError
from cvflow.stages.tune.space import algorithm_of
from cvflow.stages.tune.trial_recipe import with_params

FEWER = "leave values out, or type --algorithm random."


def size_faults(base: Mapping[str, Any], search: Search) -> list[Fault]:
    """Return what the algorithm refuses, and a fault for each limit that is too low for a whole grid."""
    try:
        size = algorithm_of(base, search).size
    except RequestError as error:
        return list(error.faults)
    if size is None:
        return []
    faults = []
    if search.samples is not None and size > search.samples:
        got = f"a grid of {size} points for {search.samples} trials"
        fix = f"Type --samples {size}, {FEWER}"
        faults.append(Fault("search.samples", got, f"at least {size}", fix))
    epochs = least_epochs(base, search)
    # a search ends once its epochs are used up, so the last trial only has to begin
    epochs_before_last = (size - 1) * epochs
    if search.max_epochs is not None and epochs_before_last >= search.max_epochs:
        needed = size * epochs
        got = f"{search.max_epochs} epochs for a grid of {size} points of {epochs} or more each"
        fix = f"Type search.max_epochs={needed}, {FEWER}"
        faults.append(Fault("search.max_epochs", got, f"at least {needed}", fix))
    return faults


def least_epochs(base: Mapping[str, Any], search: Search) -> int:
    """Return the epochs that each trial takes at least: one if it may be ended early."""
    params = {}
    if "train.epochs" in search.space:
        params["train.epochs"] = min(search.space["train.epochs"].values)
    plan = Recipe.model_validate(with_params(base, params)).train.plan()
    planned = sum(phase.epochs for phase in plan)
    may_end_early = search.scheduler.name != "none" or any(phase.patience for phase in plan)
    return min(1, planned) if may_end_early else planned


def most_epochs(recipe: Recipe) -> int:
    """Return the epochs of the longest trial."""
    planned = sum(phase.epochs for phase in recipe.train.plan())
    searched = recipe.search.space.get("train.epochs")
    if searched is None:
        return planned
    longest: int = max(planned, *searched.values)
    return longest
