"""Real data, recipes and sessions that the benchmarks share. Prepared data lies in ``.cvflow/benchmarks``."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from cvflow.config import Compute, Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import SCHEMA_VERSION, PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.registry import Component, build
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.tasks.base import Task

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".cvflow" / "benchmarks"
DATA = ROOT.parent / "shared" / "data"
CROP_AND_FLIP = [{"name": "random_crop", "padding": 4}, "horizontal_flip"]


def cifar() -> PreparedDataset:
    """The CIFAR-10 photographs: 4,500 to train on, 500 to validate, 2,000 to test."""
    return prepared("cifar10_jpg", DATA / "cifar10_jpg")


def photographs() -> Path:
    """Kangaroos, streets and blood cells in class folders: 669 whole JPEG files of about 640 x 480 pixels."""
    sources = {"kangaroo": "kangaroo/images", "street": "camvid/CamVid/*[tl]", "blood": "bccd/JPEGImages"}
    folder = STATE / "photographs"
    for label, pattern in sources.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for file in DATA.glob(f"{pattern}/*.jpg"):
            copy = folder / label / file.name
            if not copy.exists() and whole(file):
                shutil.copyfile(file, copy)
    return folder


def whole(file: Path) -> bool:
    """One of them is truncated as published, which the bare loop does not survive."""
    try:
        with Image.open(file) as image:
            image.load()
        return True
    except OSError:
        return False


def prepared(name: str, source: Path, split: SplitRule = SplitRule()) -> PreparedDataset:  # noqa: B008
    """An image folder as a prepared dataset, made once."""
    out = STATE / f"{name}-{SCHEMA_VERSION}"
    if not out.exists():
        task: Task = build("task", Component(name="classification"))
        reader = build("format", Component(name="image_folder"), source)
        prepare(reader, task.schema, "classification", split, out, shard_mb=64)
    return PreparedDataset(out)


def recipe(backbone: dict[str, Any], size: int, **train: Any) -> Recipe:
    """Classification of square images."""
    model = {"name": "classifier", "backbone": backbone}
    sections = {"task": "classification", "data": {"format": "image_folder"}, "image": {"size": (size, size)}}
    return Recipe.model_validate({**sections, "model": model, "train": {"augment": CROP_AND_FLIP, **train}})


S = TypeVar("S", bound=LocalSession)


def session(root: Path, threads: int, loader_workers: int = 0, kind: type[S] = LocalSession) -> S:  # type: ignore[assignment]
    """A training in this process, its checkpoints and history below ``root``; shows nothing."""
    compute = Compute(device="cpu", threads=threads, loader_workers=loader_workers)
    return kind(
        compute, CheckpointStore(root / "checkpoints"), History(root / "history.jsonl"), Console(StringIO())
    )
