"""The plug-ins of a project: the Python files that the recipes of its runs name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cvflow.errors import CvflowError, RequestError
from cvflow.plugins import load_plugins
from cvflow.project.graph import read_runs
from cvflow.recipe.check import plugin_paths
from cvflow.recipe.layers import load


def use_plugins(files: Sequence[Path] = ()) -> None:
    """Load plug-in files, and those of this directory's project, so that what they register can be named.

    RequestError if one of the given files cannot be loaded. One of the project's that cannot is
    named on the terminal: it may belong to another run than the one at hand.
    """
    faults = load_plugins(files)
    if faults:
        raise RequestError(*(replace(fault, where="--plugin", fix=_fix(fault.fix)) for fault in faults))
    for fault in load_plugins(project_plugins()):
        sys.stderr.write(f"a plug-in of this project was left out: {fault}\n")


def _fix(fix: str) -> str:
    return "" if fix.startswith("Paths are relative") else fix


def project_plugins() -> list[Path]:
    """Return the plug-in files that the runs in params.yaml name, each once."""
    return [Path(path) for path in dict.fromkeys(_plugins_of_runs())]


def _plugins_of_runs() -> Iterator[str]:
    for entry in read_runs().values():
        recipe = Path(entry["recipe"])
        if not recipe.is_file():
            continue
        try:
            layers = load(recipe, entry.get("overrides") or {})
        except CvflowError:  # a recipe that cannot be read is that run's fault
            continue
        yield from plugin_paths(layers.data)


def file_of(builder: object) -> Path | None:
    """Return the plug-in file that registered a builder; None for one of cvflow's own."""
    module = sys.modules[getattr(builder, "__module__", "cvflow")]
    if not module.__name__.startswith("cvflow_plugin_"):
        return None
    return Path(str(module.__file__))
