"""A recipe file's layers become the whole checked recipe, and the answer is kept for next time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cvflow import __version__
from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError
from cvflow.plugins import load_plugins
from cvflow.project.graph import STAGES, STATE, TUNE
from cvflow.recipe.check import (
    check_recipe,
    file_digest,
    located,
    plugin_paths,
    without,
)
from cvflow.recipe.layers import Layered, load
from cvflow.registry import faults_of


@dataclass(frozen=True)
class Resolved:
    """recipe: plain data, ready for recipe.yaml. layered: where the values came from."""

    recipe: dict[str, Any]
    layered: Layered


def answer_file(layered: Layered) -> Path:
    """The resolved recipe as a file, made where these layers were not resolved before."""
    cache = cache_file(layered)
    if not cache.exists():
        recipe = resolve_layers(layered).recipe
        cache.parent.mkdir(parents=True, exist_ok=True)
        aside = cache.with_suffix(f".{os.getpid()}")
        aside.write_text(yaml.safe_dump(recipe, sort_keys=False, width=120))
        aside.replace(cache)
    return cache


def cache_file(layered: Layered) -> Path:
    """Where the answer to these layers is kept, once there is one."""
    return STATE / "resolved" / f"{inputs_digest(layered)}.yaml"


def load_entry(entry: Mapping[str, Any]) -> Layered:
    """The layers of a run's entry in params.yaml."""
    path = Path(entry["recipe"])
    if not path.is_file():
        raise RequestError(
            Fault(
                "params.yaml", f"recipe {path}", "a recipe file", "Type 'cvflow list' for the shipped ones."
            )
        )
    return load(path, entry.get("overrides") or {})


def resolve_layers(layered: Layered) -> Resolved:
    """Check everything and fill in defaults.

    Raises RequestError with every fault, each with its file and line.
    """
    data = layered.data
    faults = load_plugins(plugin_paths(data))
    recipe: Recipe | None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        faults += faults_of(error, Recipe)
        recipe = without(data, error)
    filled: dict[str, Any] = {}
    if recipe is not None:
        filled, recipe_faults = check_recipe(recipe)
        faults += recipe_faults
    if faults:
        raise RequestError(*(located(fault, layered) for fault in faults))
    return Resolved({**filled, "cvflow": own_keys(recipe)}, layered)


def own_keys(recipe: Recipe | None) -> dict[str, Any]:
    """What cvflow adds to the resolved recipe: behaviour numbers and the digests of files that the
    recipe names.
    """
    weights = recipe.model.weights if recipe else None
    return {
        "version": __version__,
        "behaviour": {stage.name: stage.behaviour for stage in (*STAGES, TUNE)},
        "plugins": {str(path): file_digest(path) for path in (recipe.plugins if recipe else ())},
        "weights": file_digest(weights) if weights else None,
    }


def inputs_digest(layered: Layered) -> str:
    """A digest of all that resolving reads: the recipe files, overrides, plugins, weights, and
    cvflow itself.
    """
    data = layered.data
    weights = data["model"].get("weights") if isinstance(data.get("model"), dict) else None
    files = [*plugin_paths(data), *([weights] if isinstance(weights, str) else [])]
    digests = [file_digest(Path(f)) if Path(f).is_file() else None for f in files]
    source = data["data"].get("source") if isinstance(data.get("data"), dict) else None
    has_source = source is None or Path(str(source)).exists()
    text = json.dumps([data, digests, has_source, own_keys(None)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def source_of(recipe: Mapping[str, Any], recipe_path: Path) -> str:
    """What DVC watches as a run's raw data: the recipe file itself where the data is built in."""
    return str(recipe["data"]["source"] or recipe_path)


def check_source(name: str, entry: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """params.yaml must name the source that the recipe reads, for DVC depends on it."""
    expected = source_of(recipe, Path(entry["recipe"]))
    if entry.get("source") != expected:
        fix = f"Type 'cvflow run {entry['recipe']} --name {name}'."
        raise RequestError(
            Fault(
                f"params.yaml runs.{name}.source",
                f"'{entry.get('source')}'",
                f"'{expected}', as in the recipe",
                fix,
            )
        )
