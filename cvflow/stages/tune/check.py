"""A search checked against the typed recipe before anything starts: all faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cvflow.config import Compute, Recipe, Search
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.stages.tune.limits import size_faults
from cvflow.stages.tune.models import early_model_faults
from cvflow.stages.tune.objective import early_metric_faults, val_split_faults
from cvflow.stages.tune.space import space_key, value_at
from cvflow.stages.tune.values import value_faults

SEARCHED = ("image", "model", "seed", "task", "train")
"""Sections whose keys may be searched: what a training reads."""
CHANGED_IN_TRAINING = ("train.optimizer.", "task.")
"""Keys that population-based training may change in the middle of a training."""
EXAMPLE = "'train.optimizer.lr=loguniform(1e-4,1e-1)'"


def check_search(base: Mapping[str, Any], search: Search) -> None:
    """Raise RequestError with every fault of the search. base: the resolved recipe."""
    faults = [
        *key_faults(search),
        *condition_faults(base, search),
        *scheduler_faults(base, search),
        *early_metric_faults(base, search),
    ]
    sound = without_faults(search, faults)
    for key, dimension in sound.space.items():
        faults += value_faults(base, key, dimension)
    sound = without_faults(search, faults)
    # without the right epochs the size of the search says nothing
    epochs_sound = "train.epochs" not in search.space or "train.epochs" in sound.space
    if search.space and epochs_sound:
        faults += size_faults(base, search)
    faults += val_split_faults(base)
    faults += early_model_faults(base, sound)
    if faults:
        raise RequestError(*faults)


def without_faults(search: Search, faults: list[Fault]) -> Search:
    """Return the search without the dimensions that a fault is about."""
    faulty = set()
    for fault in faults:
        faulty.update(fault.where.split())
    space = {}
    for key, dimension in search.space.items():
        if space_key(key) not in faulty:
            space[key] = dimension
    return search.model_copy(update={"space": space})


def key_faults(search: Search) -> Iterator[Fault]:
    """Yield a fault for an empty space, and for each key that all trials must share."""
    if not search.space:
        fix = f"Type {EXAMPLE}, or name keys in the recipe's search.space."
        yield Fault("search.space", "nothing", "at least one key to search", fix)
    for key in search.space:
        section = key.split(".")[0]
        if section == "data":
            got = f"'{key}', which would change the prepared data, and the test split with it"
            fix = "All trials share one dataset: type it as a plain value, for a search of its own."
            yield Fault(space_key(key), got, "a key that training reads", fix)
        elif not is_searchable(key):
            expected = f"a key that training reads: {one_of(SEARCHED)}"
            yield Fault(space_key(key), f"'{key}'", expected, "Type it as a plain value.")


def is_searchable(key: str) -> bool:
    """Whether trials may differ in the key. A key of no section may be a typing error: values tell."""
    section = key.split(".")[0]
    if key in ("task", "task.name") or section == "register":
        return False
    return section in SEARCHED or section not in Recipe.model_fields


def condition_faults(base: Mapping[str, Any], search: Search) -> Iterator[Fault]:
    """Yield a fault for each condition on a key that neither the space nor the recipe has."""
    for key, dimension in search.space.items():
        for name in dimension.when:
            if name in search.space or value_at(base, name) is not None:
                continue
            hint = did_you_mean(name, search.space)
            expected = "a key of the space or of the recipe"
            yield Fault(space_key(key), f"the condition '{name}'", expected, hint)


def scheduler_faults(base: Mapping[str, Any], search: Search) -> Iterator[Fault]:
    """Yield a fault for each setting that population-based training cannot change in a training."""
    if search.scheduler.name != "pbt":
        return
    if Compute.model_validate(base["compute"]).most > 1:
        fix = "Type compute.workers=0 or search.scheduler=asha."
        got = "pbt with several workers a trial"
        yield Fault("search.scheduler", got, "another scheduler", fix)
    for key in search.space:
        if not key.startswith(CHANGED_IN_TRAINING):
            expected = f"with pbt, a key below {' or '.join(CHANGED_IN_TRAINING)}"
            fix = "Type search.scheduler=asha, or leave the key out."
            yield Fault(space_key(key), f"'{key}'", expected, fix)
