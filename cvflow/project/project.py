"""A project directory: shipped and local recipes, params.yaml with its runs, dvc.yaml, the DVC set-up."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import yaml

import cvflow
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.project.graph import STATE, dvc_yaml, read_runs
from cvflow.recipe.layers import load
from cvflow.runtime import dvc

RECIPES = Path("pipelines")


def shipped() -> dict[str, Path]:
    """The recipes that come with cvflow: name -> file."""
    # in a wheel; beside the package in a checkout
    inside = Path(cvflow.__file__).parent / "pipelines"
    folder = inside if inside.is_dir() else inside.parent.parent / "pipelines"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipes() -> dict[str, Path]:
    """Every recipe that ``cvflow run NAME`` finds: those in ./pipelines before the shipped ones."""
    return {**shipped(), **{path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}}


def locate(recipe: str) -> Path:
    """A recipe's file by path or name. A shipped one is read where it was installed."""
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise RequestError(
                Fault("RECIPE", f"'{recipe}'", "a YAML file that exists, or a name that 'cvflow list' shows")
            )
        return Path(os.path.relpath(path)) if not path.is_absolute() else path
    recipe_names = recipes()
    if recipe not in recipe_names:
        raise RequestError(
            Fault(
                "RECIPE",
                f"'{recipe}'",
                f"{one_of(recipe_names)}, or a YAML path",
                did_you_mean(recipe, recipe_names),
            )
        )
    return recipe_names[recipe]


def place(recipe: Path) -> Path:
    """Where the project keeps the recipe: a shipped one in ./pipelines, to be versioned and edited there."""
    return RECIPES / recipe.name if recipe in shipped().values() else recipe


def adopt(recipe: Path) -> Path:
    """The recipe as the project keeps it: a shipped one is copied."""
    recipe_file = place(recipe)
    if not recipe_file.exists():
        recipe_file.parent.mkdir(exist_ok=True)
        recipe_file.write_text(recipe.read_text())
    return recipe_file


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """``key=value`` arguments as dotted keys with YAML values; every malformed one is named."""
    wrong = [
        (a, "no key" if a.startswith("=") else "no '='")
        for a in arguments
        if "=" not in a or a.startswith("=")
    ]
    faults = [Fault(f"'{argument}'", got, "key=value, as in train.epochs=3") for argument, got in wrong]
    if faults:
        raise RequestError(*faults)
    parsed = {}
    for key, _, text in (argument.partition("=") for argument in arguments):
        try:
            parsed[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RequestError(
                Fault(f"'{key}={text}'", "a value that is not YAML", "a number, a word or {a: b}")
            ) from error
    return parsed


def run_name(recipe: Path, name: str | None) -> str:
    """The run's name: the recipe's by default."""
    chosen = name or recipe.stem
    check_name(chosen, "--name", f"Type --name {slug(chosen)}.")
    return chosen


def check_name(name: str, where: str, fix: str) -> None:
    """Letters, digits, '-' and '_', as DVC and MLflow take them, and nothing that leads out of a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise RequestError(Fault(where, f"'{name}'", "letters, digits, '-' and '_'", fix))


def slug(text: str) -> str:
    """The text with what a run's name may not hold replaced."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "run"


def make_entry(recipe: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A run's entry for params.yaml."""
    data = load(recipe, overrides).data.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return {
        "recipe": str(recipe),
        "source": str(Path(str(source))) if source else str(recipe),
        "overrides": dict(overrides),
    }


def write_entry(name: str, entry: Mapping[str, Any]) -> None:
    """Put the run into params.yaml, whatever else stands there kept, comments too."""
    with locked("params"), dvc.changed_yaml(Path("params.yaml"), STATE / "params.yaml") as content:
        if not content.get("runs"):
            content["runs"] = {}
        content["runs"][name] = dict(entry)


def write_search(name: str) -> None:
    """Put the run among the searches too."""
    with locked("params"), dvc.changed_yaml(Path("params.yaml"), STATE / "params.yaml") as content:
        content.setdefault("searches", {})[name] = {}


@contextmanager
def locked(name: str, doing: str = "changing params.yaml") -> Iterator[None]:
    """Only one process of this project at a time is inside, others wait and say for whom; a lock
    ends with its process.

    doing: what the holder does, as others read it.
    """
    STATE.mkdir(exist_ok=True)
    with (STATE / f"{name}.lock").open("a+") as file:
        if not _taken(file):
            file.seek(0)
            sys.stderr.write(f"waiting for {file.read() or 'another process'}\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, which has been {doing} since {datetime.now():%H:%M on %d %B}")
        file.flush()
        yield


def _taken(file: TextIO, patience: float = 2.0) -> bool:
    """Whether the lock was free within so many seconds: a short wait is not worth a word."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)


def check_name_is_free(name: str, recipe: Path) -> None:
    """A run's name belongs to one recipe."""
    old = read_runs().get(name)
    if old is not None and old["recipe"] != str(recipe):
        fix = f"Type --name {name}-2, or remove runs.{name} from params.yaml."
        raise RequestError(
            Fault("--name", f"'{name}', the run of {old['recipe']}", "a name of this recipe's own", fix)
        )


def check_pipeline_is_ours() -> None:
    """A dvc.yaml of somebody else's is refused, before anything is written."""
    path = Path("dvc.yaml")
    if path.exists() and not path.read_text().startswith("# Written by cvflow"):
        raise RequestError(
            Fault(
                "dvc.yaml",
                "a pipeline of your own",
                "none, or cvflow's",
                "Run cvflow in a directory of its own.",
            )
        )


def write_pipeline() -> None:
    """dvc.yaml as this version of cvflow has it."""
    path, text = Path("dvc.yaml"), dvc_yaml()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def describe_recipes() -> list[tuple[str, str, str]]:
    """(name, description, file) of every recipe; one that cannot be read says so."""
    rows = []
    for name, path in recipes().items():
        try:
            text = str(load(path, {}).data.get("description", ""))
        except RequestError as error:
            text = f"cannot be read: {error}"
        rows.append((name, text, os.path.relpath(path)))
    return rows
