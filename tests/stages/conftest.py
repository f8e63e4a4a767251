"""Small image folders and recipes, made by the test that wants them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cvflow import plugins, registry
from cvflow.errors import Fault, RequestError
from cvflow.stages.pipeline import run_stage
from cvflow.stages.project import make_entry, write_entry
from cvflow.stages.recipe_file import load
from cvflow.stages.resolve import Resolved, resolve_layers
from cvflow.stages.run import STAGES

Write = Callable[..., Path]
Faults = Callable[..., list[Fault]]


@pytest.fixture(autouse=True)
def _plugins_end_with_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plugins, "_loaded", {})
    yield
    for module in [name for name in sys.modules if name.startswith("cvflow_plugin_")]:
        registry.forget(module)
        del sys.modules[module]


@pytest.fixture
def write(project: Path) -> Write:
    """Write files by name into the project, indentation taken off; gives the last one's path."""

    def files(**texts: str) -> Path:
        for name, text in texts.items():
            path = Path(name.replace("__", "/").replace("_yaml", ".yaml").replace("_py", ".py"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return path

    return files


@pytest.fixture
def folder(project: Path) -> Callable[..., Path]:
    """An image folder: name, class -> how many images; each of the size and mode given."""

    def make(name: str, classes: Mapping[str, int], size: tuple[int, int] = (12, 12), mode: str = "L") -> Path:
        for label, (kind, count) in enumerate(classes.items()):
            (project / name / kind).mkdir(parents=True)
            for i in range(count):
                value = 40 + 120 * label + i
                Image.new(mode, size, value if mode == "L" else (value, 255 - value, 30)).save(project / name / kind / f"{i}.png")
        (project / name).mkdir(exist_ok=True)
        return Path(name)

    return make


SQUARES = {
    "task": "classification", "data": {"format": "image_folder", "source": "../raw", "split": {"test": 0.4, "val": 0.2}},
    "image": {"size": [12, 12], "channels": 1}, "model": {"backbone": "lenet"}, "compute": {"threads": 1, "device": "cpu"},
    "train": {"epochs": 8, "batch_size": 4, "optimizer": {"lr": 0.02}, "augment": [{"name": "random_crop", "padding": 1}]},
    "tracking": {"every": 1},
}  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two runs: ``good``, all its stages done, and ``bad``, never trained but measured. Only to be looked at."""
    root = tmp_path_factory.mktemp("finished")
    for kind, level in (("dark", 70), ("light", 170)):
        (root / "raw" / kind).mkdir(parents=True)
        for i in range(16):
            noise = np.random.default_rng([level, i]).integers(-60, 60, (12, 12))
            Image.fromarray((level + noise).astype(np.uint8)).save(root / "raw" / kind / f"{i:02d}.png")
    done = ["resolve", *(stage.name for stage in STAGES)]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        path = root / "pipelines" / "squares.yaml"
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(SQUARES))
        for name, overrides, stages in (("good", {}, done), ("bad", {"train.epochs": 0}, done[:4])):
            write_entry(name, make_entry(path.relative_to(root), overrides))
            for stage in stages:
                run_stage(stage, name)
    return root


def resolved(path: Path, **overrides: Any) -> Resolved:
    return resolve_layers(load(path, {key.replace("__", "."): value for key, value in overrides.items()}))


@pytest.fixture(name="resolved")
def resolved_fixture() -> Callable[..., Resolved]:
    """A recipe file resolved; overrides with ``__`` for the dots."""
    return resolved


@pytest.fixture
def faults() -> Faults:
    """The faults of a recipe file; it must have some."""

    def of(path: Path, **overrides: Any) -> list[Fault]:
        with pytest.raises(RequestError) as caught:
            resolved(path, **overrides)
        return list(caught.value.faults)

    return of
