"""The command line as a user has it: real processes, a real project in a directory below a git
root, made once.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

CVFLOW = str(Path(sys.executable).parent / "cvflow")
QUICK = (
    "train.epochs=6",
    "train.batch_size=8",
    "train.warmup_epochs=0",
    "train.augment=[]",
    "train.optimizer.lr=0.02",
    "model.backbone=lenet",
    "data.split.test=0.4",
    "compute.threads=1",
)
"""Overrides under which a run takes a moment."""

NET = """\
    import os
    import time
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from cvflow.models.backbones.base import Backbone
    from cvflow.registry import register


    @register("backbone", "noting")
    class Noting(Backbone):
        strides = (2,)

        def __init__(self, in_channels: int, image_size: tuple[int, int]) -> None:
            super().__init__()
            self.channels, self.num_features = (4,), 4
            self.layer = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)
            self.seed = torch.initial_seed()  # the recipe's

        def forward(self, x_BCHW: Tensor) -> list[Tensor]:
            if self.training and "STEPS" in os.environ:
                time.sleep(0.1)
                with Path(os.environ["STEPS"]).open("a") as file:
                    file.write(f"{self.seed}\\n")
            return [self.layer(x_BCHW)]
    """
RECIPE = """\
    task: classification
    plugins: [net.py]
    data: {format: image_folder, source: raw, split: {test: 0.2, val: 0.2}}
    image: {size: [12, 12], channels: 1}
    model: {backbone: noting}
    train: {epochs: 4, batch_size: 2}
    tracking: {every: 1}
    compute: {threads: 1}
    """

Done = subprocess.CompletedProcess[str]
Cvflow = Callable[..., Done]


def environment() -> dict[str, str]:
    """Without this interpreter on the PATH: the commands that DVC starts must find it all the same."""
    return os.environ | {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def execute(cwd: Path, *command: str, code: int = 0, **variables: str) -> Done:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment() | variables,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == code, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def cvflow() -> Cvflow:
    """Run ``cvflow`` with arguments in a directory; ``code`` is the exit status expected."""

    def run(cwd: Path, *arguments: str, code: int = 0, **variables: str) -> Done:
        return execute(cwd, CVFLOW, *arguments, code=code, **variables)

    return run


@pytest.fixture(scope="session")
def dvc() -> Cvflow:
    """Run ``dvc`` by hand, with cvflow on the PATH as dvc is."""

    def run(cwd: Path, *arguments: str, code: int = 0) -> Done:
        return execute(
            cwd,
            sys.executable,
            "-m",
            "dvc",
            *arguments,
            code=code,
            PATH=f"{Path(CVFLOW).parent}:/usr/bin:/bin",
        )

    return run


@pytest.fixture(scope="session")
def draw() -> Callable[..., None]:
    """Draw an image folder: dark and light squares, each a little different, from ``first`` on."""

    def images(folder: Path, count: int, first: int = 0, size: int = 12) -> None:
        for kind, level in (("dark", 60), ("light", 190)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for i in range(first, first + count):
                noise = np.random.default_rng(i).integers(-40, 40, (size, size))
                Image.fromarray((level + noise).astype(np.uint8)).save(folder / kind / f"{i:02d}.png")

    return images


@dataclass(frozen=True)
class Ran:
    """A finished project: where it is, and what its commands said."""

    path: Path
    overrides: dict[str, Any]
    new: Done
    run: Done


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, cvflow: Cvflow, draw: Callable[..., None]) -> Ran:
    """``cvflow new`` on an image folder with a truncated image and a stray file, then ``cvflow run``.

    Only to be looked at.
    """
    root = tmp_path_factory.mktemp("root")
    path = root / "work"
    draw(path / "raw", 15)
    image = path / "raw" / "dark" / "90.png"
    image.write_bytes((path / "raw" / "light" / "00.png").read_bytes()[:100])
    (path / "raw" / "light" / "notes.txt").write_text("not an image")
    execute(root, "git", "init", "-q")
    execute(root, "git", "add", "work/raw")
    execute(root, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "raw data")
    new = cvflow(path, "new", "squares", "--data", "raw")
    return Ran(
        path,
        {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in QUICK)},
        new,
        cvflow(path, "run", "squares", *QUICK),
    )


@pytest.fixture
def copied(ran: Ran, tmp_path: Path) -> Path:
    """The finished project once more, to be changed."""
    shutil.copytree(ran.path.parent, tmp_path / "root", symlinks=True)
    return tmp_path / "root" / "work"


@pytest.fixture
def noting(tmp_path: Path, draw: Callable[..., None]) -> Path:
    """A project whose network writes a line a step on each rank: the recipe's seed."""
    draw(tmp_path / "raw", 19)
    (tmp_path / "net.py").write_text(dedent(NET))
    (tmp_path / "mine.yaml").write_text(dedent(RECIPE))
    return tmp_path


@dataclass(frozen=True)
class Searched:
    """What a search has left in its project, so far."""

    path: Path

    def journal(self) -> list[dict[str, Any]]:
        """The entries; a line that is being written is left out."""
        files = list(self.path.glob(".cvflow/tune/*/journal.jsonl"))
        return (
            [
                json.loads(line)
                for line in files[0].read_text().splitlines(keepends=True)
                if line.endswith("\n")
            ]
            if files
            else []
        )

    def ended(self) -> list[int]:
        """The trials, each as often as it ended."""
        return [entry["trial"] for entry in self.journal() if entry["event"] == "ended"]

    def trials(self) -> list[dict[str, Any]]:
        """By number."""
        (file,) = self.path.glob("runs/*-search/search/trials.json")
        content: list[dict[str, Any]] = json.loads(file.read_text())["trials"]
        return sorted(content, key=lambda trial: trial["number"])

    def runs(self) -> tuple[int, int, list[str], list[str]]:
        """MLflow runs in all, those nested in another, and the generations and algorithms that
        these are tagged with.
        """
        up = "JOIN tags up USING (run_uuid) WHERE up.key = 'mlflow.parentRunId'"
        with closing(sqlite3.connect(self.path / "mlflow.db")) as connection:
            (all_runs,) = connection.execute("SELECT COUNT(*) FROM runs").fetchone()
            (nested,) = connection.execute(
                "SELECT COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId'"
            ).fetchone()
            tagged = connection.execute(
                f"SELECT own.key, own.value FROM tags own {up} ORDER BY own.value"
            ).fetchall()
        generations, algorithms = (
            [value for key, value in tagged if key == f"cvflow.{name}"]
            for name in ("generation", "algorithm")
        )
        return all_runs, nested, generations, algorithms


@pytest.fixture(scope="session")
def search_in() -> Callable[[Path], Searched]:
    """The search of a project."""
    return Searched
