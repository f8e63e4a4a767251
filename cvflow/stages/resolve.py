"""resolve: the whole checked recipe, overrides applied and defaults filled in; all faults at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cvflow import __version__
from cvflow.config import Recipe, Section
from cvflow.errors import Fault, RequestError
from cvflow.plugins import load_plugins
from cvflow.registry import check, components_in, faults_of
from cvflow.stages.recipe_file import Layered, load
from cvflow.stages.run import STAGES, STATE, Run, find_entry


@dataclass(frozen=True)
class Resolved:
    """recipe: plain data, ready for recipe.yaml. layered: where the values came from."""

    recipe: dict[str, Any]
    layered: Layered


def resolve(run: Run) -> None:
    """Write ``runs/<name>/recipe.yaml``. Where nothing it reads has changed, the last answer is written again, in no time."""
    entry = find_entry(run.name)
    layered = load_entry(entry)
    cache = STATE / "resolved" / f"{inputs_digest(layered)}.yaml"
    if not cache.exists():
        recipe = resolve_layers(layered).recipe
        cache.parent.mkdir(parents=True, exist_ok=True)
        aside = cache.with_suffix(f".{run.name}")
        aside.write_text(yaml.safe_dump(recipe, sort_keys=False, width=120))
        aside.replace(cache)
    check_source(run.name, entry, yaml.safe_load(cache.read_text()))
    run.root.mkdir(parents=True, exist_ok=True)
    run.path("recipe.yaml").write_text(cache.read_text())


def load_entry(entry: Mapping[str, Any]) -> Layered:
    """The layers of a run's entry in params.yaml."""
    path = Path(entry["recipe"])
    if not path.is_file():
        raise RequestError(Fault("params.yaml", f"recipe {path}", "a recipe file", "Type 'cvflow list' for the shipped ones."))
    return load(path, entry.get("overrides") or {})


def resolve_layers(layered: Layered) -> Resolved:
    """Check everything and fill in defaults. Raises RequestError with every fault, each with its file and line."""
    data = layered.data
    faults = [*load_plugins(data.get("plugins") or [])]
    recipe: Recipe | None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        faults += faults_of(error, Recipe)
        recipe = _without(data, error)
    filled: dict[str, Any] = {}
    if recipe is not None:
        filled = recipe.model_dump(mode="json", by_alias=True)
        faults += _fill(recipe, filled, "")
        for index, phase in enumerate(recipe.train.plan() if recipe.train.phases else ()):
            faults += _fill(phase, {}, f"train.phases.{index}.")
        faults += missing_files(recipe)
    if faults:
        raise RequestError(*(_located(fault, layered) for fault in faults))
    return Resolved({**filled, "cvflow": own_keys(recipe)}, layered)


def _without(data: dict[str, Any], error: ValidationError) -> Recipe | None:
    """The recipe less its faulty keys, so that the rest can be checked in the same go; None where that is no recipe."""
    rest = deepcopy(data)
    for item in error.errors(include_url=False):
        target: Any = rest
        path = [p for p in item["loc"] if isinstance(p, int) or not str(p).startswith(("function-", "constrained-"))]
        for key in path[:-1]:
            target = target.get(key, {}) if isinstance(target, dict) else {}
        if isinstance(target, dict):
            target.pop(path[-1] if path else "", None)
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
    paths = {"data.source": recipe.data.source, "model.weights": recipe.model.weights}
    return [
        Fault(key, f"'{path}'", "a file or folder that exists", f"Paths are relative to the recipe file. Type {key}=PATH.")
        for key, path in paths.items()
        if path is not None and not path.exists()
    ]


def own_keys(recipe: Recipe | None) -> dict[str, Any]:
    """What cvflow adds to the resolved recipe: behaviour numbers and the digests of files that the recipe names."""
    weights = recipe.model.weights if recipe else None
    return {
        "version": __version__,
        "behaviour": {stage.name: stage.behaviour for stage in STAGES},
        "plugins": {path.name: file_digest(path) for path in (recipe.plugins if recipe else ())},
        "weights": file_digest(weights) if weights else None,
    }


def inputs_digest(layered: Layered) -> str:
    """A digest of all that resolving reads: the recipe files, overrides, plugins, weights, and cvflow itself."""
    data = layered.data
    files = [*(data.get("plugins") or []), (data.get("model") or {}).get("weights") if isinstance(data.get("model"), dict) else None]
    digests = [file_digest(Path(f)) if f and Path(f).is_file() else None for f in files]
    source = (data.get("data") or {}).get("source") if isinstance(data.get("data"), dict) else None
    there = source is None or Path(str(source)).exists()
    text = json.dumps([data, digests, there, own_keys(None)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_of(recipe: Mapping[str, Any], recipe_path: Path) -> str:
    """What DVC watches as a run's raw data: the recipe file itself where the data is built in."""
    return str(recipe["data"]["source"] or recipe_path)


def check_source(name: str, entry: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """params.yaml must name the source that the recipe reads, for DVC depends on it."""
    expected = source_of(recipe, Path(entry["recipe"]))
    if entry.get("source") != expected:
        fix = f"Type 'cvflow run {entry['recipe']} --name {name}'."
        raise RequestError(Fault(f"params.yaml runs.{name}.source", f"'{entry.get('source')}'", f"'{expected}', as in the recipe", fix))


def _located(fault: Fault, layered: Layered) -> Fault:
    where = layered.where(fault.where)
    return Fault(f"{where} {fault.where}".strip(), fault.got, fault.expected, fault.fix)
