"""A run's files, and what each of its stages reads and writes: the one source of dvc.yaml and of
fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.plugins import load_plugins
from cvflow.recipe.layers import read_layer

STATE = Path(".cvflow")


@dataclass(frozen=True)
class Stage:
    """behaviour: raised when the stage's meaning changes. params: recipe keys it reads. deps, outs:
    within the run's folder.
    """

    name: str
    behaviour: int
    params: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the resolved recipe that the stage depends on."""
        return (*self.params, f"cvflow.behaviour.{self.name}", "cvflow.plugins")


STAGES = (
    Stage("prepare", 4, ("task.name", "data"), (), ("data", "validation.json", "data.html")),
    Stage(
        "train",
        2,
        ("task", "image", "model", "train", "seed", "cvflow.weights"),
        ("data",),
        ("model", "history.jsonl"),
    ),
    Stage("evaluate", 3, ("evaluate",), ("data", "model"), ("evaluation",)),
    Stage(
        "register",
        2,
        ("register", "evaluate"),
        ("validation.json", "model", "evaluation"),
        ("registered.json", "card.md"),
    ),
    Stage("predict", 1, ("predict",), ("data", "model", "registered.json"), ("predictions",)),
    Stage(
        "report",
        4,
        ("description",),
        (
            "data",
            "validation.json",
            "data.html",
            "model",
            "history.jsonl",
            "evaluation",
            "registered.json",
            "predictions",
        ),
        ("report.html",),
    ),
)
TUNE = Stage(
    "tune", 1, ("search", "task", "image", "model", "train", "seed", "cvflow.weights"), ("data",), ("search",)
)
"""Of the runs that ``params.yaml`` lists under ``searches`` too."""
BY_NAME = {stage.name: stage for stage in (*STAGES, TUNE)}
NAMES = ("resolve", *BY_NAME)


@dataclass(frozen=True)
class Run:
    """A run by its name: where its files are, and its resolved recipe."""

    name: str

    @property
    def root(self) -> Path:
        return Path("runs") / self.name

    @property
    def state(self) -> Path:
        """Resumable state outside DVC, absolute."""
        return (STATE / "runs" / self.name).absolute()

    def path(self, name: str) -> Path:
        return self.root / name

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """``runs/<name>/recipe.yaml`` as data, with what cvflow adds under ``cvflow``."""
        path = self.path("recipe.yaml")
        if not path.exists():
            raise RequestError(
                Fault(
                    str(path), "no file", "the resolved recipe", f"Type 'cvflow stage resolve {self.name}'."
                )
            )
        content: dict[str, Any] = yaml.safe_load(path.read_text())
        return content

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe, its plugins loaded."""
        return read_recipe(self.resolved)

    @cached_property
    def trained_by(self) -> dict[str, Any]:
        """``resolved``, save that what made data and model is as these have it: ``recipe.yaml`` may
        have been changed since.
        """
        made: dict[str, Any] = json.loads((self.path("model") / "model.json").read_text())["recipe"]
        made["data"] = json.loads(self.path("validation.json").read_text())["data"]
        now = self.portable
        return {
            **self.resolved,
            **{section: value for section, value in made.items() if value != now[section]},
        }

    @property
    def portable(self) -> dict[str, Any]:
        """``resolved`` as a model keeps it: the weights that it started from by their content, not
        by their path.
        """
        digest = self.resolved["cvflow"]["weights"]
        return {
            **self.resolved,
            "model": {**self.resolved["model"], "weights": digest and f"sha256:{digest}"},
        }

    def needs(self, stage: str) -> None:
        """Raise RequestError where an input of the stage is missing, naming the stage that makes it."""
        made_by = {out: s.name for s in BY_NAME.values() for out in s.outs}
        for dep in BY_NAME[stage].deps if stage in BY_NAME else ():
            if not self.path(dep).exists():
                fix = f"Type 'cvflow stage {made_by[dep]} {self.name}', or 'cvflow run {self.name}' for all."
                raise RequestError(Fault(str(self.path(dep)), "nothing", f"what {stage} reads", fix))

    def clear(self, stage: str) -> None:
        """Remove the stage's old outputs, as DVC does: they may be links into its cache, not to be
        written through.
        """
        for out in BY_NAME[stage].outs if stage in BY_NAME else ():
            path = self.path(out)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def fingerprint(self, stage: str, data_digest: str) -> str:
        """32 hex digits of all that the stage's result depends on; the same keys as in dvc.yaml."""
        read = {key: lookup(self.resolved, key) for key in BY_NAME[stage].keys}
        text = json.dumps([stage, data_digest, read], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_recipe(resolved: Mapping[str, Any]) -> Recipe:
    """A resolved recipe from plain data, its plugins loaded."""
    recipe = Recipe.model_validate({k: v for k, v in resolved.items() if k != "cvflow"})
    if faults := load_plugins(recipe.plugins):
        raise RequestError(*faults)
    return recipe


def lookup(data: Mapping[str, Any], dotted: str) -> Any:
    """The value at a dotted key; KeyError where there is none."""
    value: Any = data
    for key in dotted.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def read_runs() -> dict[str, dict[str, Any]]:
    """``params.yaml``'s runs: name -> {recipe, source, overrides}. RequestError where they are not that."""
    path = Path("params.yaml")
    runs = (read_layer(path).data.get("runs") if path.exists() else None) or {}
    if not isinstance(runs, dict):
        raise RequestError(Fault("params.yaml runs", f"a {type(runs).__name__}", "a mapping of runs"))
    wrong = [
        name
        for name, entry in runs.items()
        if not isinstance(entry, dict) or not {"recipe", "source"} <= entry.keys()
    ]
    if wrong:
        fix = "Remove it, and type 'cvflow run RECIPE --name {}'."
        raise RequestError(
            *(
                Fault(f"params.yaml runs.{n}", f"{runs[n]}", "{recipe, source, overrides}", fix.format(n))
                for n in wrong
            )
        )
    return runs


def find_entry(name: str) -> dict[str, Any]:
    """A run's entry, or RequestError with the known names."""
    runs = read_runs()
    if name not in runs:
        fix = did_you_mean(name, runs) or "Type 'cvflow run RECIPE' to add a run, 'cvflow list' for recipes."
        raise RequestError(Fault("params.yaml runs", f"'{name}'", one_of(runs) if runs else "a run", fix))
    return runs[name]


def dvc_yaml() -> str:
    """The generic pipeline: every stage for each run of params.yaml. The same text for every project."""
    stages: dict[str, Any] = {
        "resolve": {
            "cmd": "cvflow stage resolve ${key}",
            "deps": ["${item.recipe}"],
            "outs": [{"runs/${key}/recipe.yaml": {"cache": False}}],
            # it also reads what the recipe extends and plugins; nothing changed costs 0.4 s
            "always_changed": True,
        }
    }
    for stage in (*STAGES, TUNE):
        source = ["${item.source}"] if stage.name == "prepare" else []
        stages[stage.name] = {
            "cmd": f"cvflow stage {stage.name} ${{key}}",
            "deps": source + [f"runs/${{key}}/{dep}" for dep in stage.deps],
            "params": [{"runs/${key}/recipe.yaml": list(stage.keys)}],
            "outs": [f"runs/${{key}}/{out}" for out in stage.outs],
        }
    over = {name: "${searches}" if name == TUNE.name else "${runs}" for name in stages}
    each = {name: {"foreach": over[name], "do": do} for name, do in stages.items()}
    # a params.yaml without searches is one with none
    pipeline = {"vars": [{"searches": {}}], "stages": each}
    header = "# Written by cvflow, the same for every project: edit params.yaml and the recipes instead.\n"
    return header + yaml.safe_dump(pipeline, sort_keys=False, width=160)
