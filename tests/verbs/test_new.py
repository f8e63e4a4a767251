"""``cvflow new``: the recipe that it writes fits the data and resolves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from cvflow.annotations import KINDS, mask
from cvflow.annotations.image import encode_png
from cvflow.config import Recipe
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import CvflowError, RequestError
from cvflow.project.graph import read_runs
from cvflow.registry import build, names
from cvflow.tasks.base import Task
from cvflow.verbs.new import new_recipe
from cvflow.verbs.starters.base import Seen
from tests.fixtures.tasks import losses_of

Folder = Callable[..., Path]


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        (
            (12, 12),
            "L",
            {
                "size": [32, 32],
                "channels": 1,
                "resize": "stretch",
                "backbone": "cifar_resnet",
                "crop": "random_crop",
            },
        ),
        (
            (60, 50),
            "RGB",
            {
                "size": [64, 64],
                "channels": 3,
                "resize": "stretch",
                "backbone": "cifar_resnet",
                "crop": "random_crop",
            },
        ),
        (
            (300, 250),
            "L",
            {
                "size": [224, 224],
                "channels": 1,
                "resize": "crop",
                "backbone": "torchvision",
                "crop": "random_resized_crop",
            },
        ),
        (
            (140, 110),
            "RGB",
            {
                "size": [128, 128],
                "channels": 3,
                "resize": "crop",
                "backbone": "torchvision",
                "crop": "random_resized_crop",
            },
        ),
    ],
    ids=["small grey", "small colour", "big grey", "big colour"],
)
def test_the_recipe_fits_the_images(
    folder: Folder, resolved: Callable[..., Any], size: tuple[int, int], mode: str, expected: dict[str, Any]
) -> None:
    path, summary = new_recipe("mine", "classification", folder("raw", {"cat": 3, "dog": 3}, size, mode))
    assert summary.startswith(
        f"6 images, 2 classes (cat, dog), {'grey' if mode == 'L' else 'colour'}, read as image_folder"
    )
    assert path.read_text().startswith("# cvflow run mine\n")
    recipe = resolved(path).recipe
    assert recipe["image"] == {key: expected[key] for key in ("size", "channels", "resize")}
    assert recipe["model"]["backbone"]["name"] == expected["backbone"]
    assert [t["name"] for t in recipe["train"]["augment"]] == [expected["crop"], "horizontal_flip"]
    assert read_runs() == {"mine": {"recipe": "pipelines/mine.yaml", "source": "raw", "overrides": {}}}


def test_colour_counts_where_one_image_has_it_and_unreadable_ones_are_counted(
    folder: Folder, project: Path
) -> None:
    raw = folder("raw", {"a": 4, "b": 4})
    folder("colour", {"a": 1, "b": 1}, mode="RGB")
    (project / "colour/a/0.png").rename(raw / "a" / "9.png")
    (raw / "b" / "0.png").write_bytes((raw / "b" / "0.png").read_bytes()[:40])
    path, summary = new_recipe("mine", "classification", raw)
    assert "9 images, 2 classes (a, b), colour, read as image_folder; 1 of 9 looked at unreadable" in summary
    assert yaml.safe_load(path.read_text())["image"]["channels"] == 3


def test_data_outside_the_project(
    folder: Folder, project: Path, monkeypatch: pytest.MonkeyPatch, resolved: Callable[..., Any]
) -> None:
    raw = folder("raw", {"a": 2, "b": 2}).absolute()
    (project / "work").mkdir()
    monkeypatch.chdir("work")
    path, _ = new_recipe("mine", "classification", raw)
    assert yaml.safe_load(path.read_text())["data"]["source"] == "../../raw"
    assert resolved(path).recipe["data"]["source"] == read_runs()["mine"]["source"] == "../raw"


@pytest.mark.parametrize(
    ("classes", "name", "task", "message"),
    [
        ({}, "mine", "classification", "no images in class folders"),
        ({"a": 2}, "mine", "classification", "one class: 'a'"),
        (
            {"a": 1, "b": 1},
            "mi ne",
            "classification",
            "NAME: got 'mi ne', expected letters.*Type 'cvflow new mi-ne",
        ),
        ({"a": 1, "b": 1}, "../../evil", "classification", "NAME: got '../../evil'"),
        ({"a": 1, "b": 1}, "a b/c", "classification", "NAME: got 'a b/c'"),
        ({"a": 1, "b": 1}, "mine", "clasification", "Did you mean 'classification'"),
        (None, "mine", "classification", "--data: got 'raw', expected a folder or file that exists"),
    ],
    ids=["empty", "one class", "name", "outside", "below", "task", "no folder"],
)
def test_what_is_refused_writes_nothing(
    folder: Folder, project: Path, classes: dict[str, int] | None, name: str, task: str, message: str
) -> None:
    if classes is not None:
        folder("raw", classes)
    before = sorted(project.iterdir())
    with pytest.raises(RequestError, match=message):
        new_recipe(name, task, Path("raw"))
    assert sorted(project.iterdir()) == before


def test_an_existing_name_is_refused(folder: Folder) -> None:
    raw = folder("raw", {"a": 2, "b": 2})
    new_recipe("mine", "classification", raw)
    with pytest.raises(RequestError, match="'mine', which exists"):
        new_recipe("mine", "classification", raw)


def test_only_unreadable_images(folder: Folder) -> None:
    raw = folder("raw", {"a": 1, "b": 1})
    for image in raw.glob("*/*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(CvflowError, match="none of the images looked at could be read"):
        new_recipe("mine", "classification", raw)


@pytest.mark.parametrize(
    ("sizes", "side", "size"),
    [
        ([(8, 8)], 32, (32, 32)),
        ([(32, 32)] * 2, 32, (32, 32)),
        ([(33, 40)], 64, (64, 64)),
        ([(100, 300), (20, 60), (90, 270)], 96, (96, 288)),
        ([(4000, 3000)], 224, (288, 224)),
        ([(375, 1242)], 224, (224, 736)),
    ],
)
def test_the_model_s_size(sizes: list[tuple[int, int]], side: int, size: tuple[int, int]) -> None:
    assert (Seen(sizes, 0).side, Seen(sizes, 0).size) == (side, size)


def _noise(path: Path, size: tuple[int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)))


def _class_folders(size: tuple[int, int]) -> None:
    for i in range(8):
        _noise(Path(f"raw/{'ab'[i % 2]}/{i}.png"), size, i)


def _identity_folders(size: tuple[int, int]) -> None:
    for i in range(12):
        _noise(Path(f"raw/s{i // 2}/{i}.png"), size, i)


def _masks(size: tuple[int, int]) -> None:
    Path("raw/masks").mkdir(parents=True)
    Path("raw/classes.txt").write_text("road\nsky\n")
    for i in range(8):
        _noise(Path(f"raw/images/{i}.png"), size, i)
        Path(f"raw/masks/{i}.png").write_bytes(mask.encode(np.eye(*size, dtype=np.uint8)))


def _boxes(size: tuple[int, int]) -> None:
    for i in range(8):
        _noise(Path(f"raw/{i}.png"), size, i)
    Path("raw/boxes.csv").write_text(
        "path,label,xmin,ymin,xmax,ymax\n" + "".join(f"{i}.png,{'ab'[i % 2]},1,2,9,8\n" for i in range(8))
    )


def _pairs(size: tuple[int, int], first: str, second: str, kind: str, channels: tuple[int, ...]) -> None:
    Path("raw", kind).mkdir(parents=True)
    for i in range(8):
        _noise(Path(f"raw/{first}/{i}.png"), size, i)
        _noise(Path(f"raw/{second}/{i}.png"), size, i + 100)
        Path(f"raw/{kind}/{i}.npz").write_bytes(
            KINDS[kind].encode(np.full((*size, *channels), 2, np.float32))
        )


TASKS: dict[str, tuple[Callable[[tuple[int, int]], None], str]] = {
    "classification": (_class_folders, "8 images, 2 classes (a, b), colour, read as image_folder"),
    "embedding": (
        _identity_folders,
        "12 images, 6 identities (s0, s1, s2, s3, s4, s5), colour, read as identity_folder",
    ),
    "flow": (lambda size: _pairs(size, "first", "second", "flow", (2,)), "8 pairs, colour, read as pairs"),
    "localization": (_boxes, "8 images, 2 classes (a, b), colour, read as boxes_csv"),
    "segmentation": (_masks, "8 images, 2 classes (road, sky), colour, read as image_mask"),
    "stereo": (lambda size: _pairs(size, "left", "right", "disparity", ()), "8 pairs, colour, read as pairs"),
}


def test_every_task_has_data_to_look_at() -> None:
    assert set(TASKS) == set(names("task")), "a new task? give TASKS a small folder of its data"


@pytest.mark.parametrize("size", [(20, 30), (90, 130)], ids=["small", "large"])
@pytest.mark.parametrize("name", TASKS)
def test_the_recipe_of_every_task_trains(
    name: str, size: tuple[int, int], project: Path, resolved: Callable[..., Any]
) -> None:
    """Prepared, resolved and built; a batch as in training has a finite loss with a gradient."""
    make, said = TASKS[name]
    make(size)
    path, summary = new_recipe("mine", name, Path("raw"))
    assert summary.startswith(said)
    recipe = Recipe.model_validate({k: v for k, v in resolved(path).recipe.items() if k != "cvflow"})
    task: Task = build("task", recipe.task)
    reader = build("format", recipe.data.format, Path("raw"))
    prepare(reader, task.schema, name, recipe.data.split, Path("data"), 64)
    dataset = PreparedDataset(Path("data"))
    task.bind(dataset.info)
    net = task.build(recipe, dataset.info)
    rows = dataset.split("train")
    order = task.sampler(recipe, dataset.info).order(rows, 0, 0)[:8]
    change = task.transforms(recipe, "train")
    batch = task.collate([change(sample) for i in order for sample in task.samples(rows[i])])
    losses = losses_of(task, net, batch)
    total = torch.stack([loss.sum / loss.count for loss in losses.values()]).sum()
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def _zip(raw: Path) -> Path:
    return Path(shutil.make_archive("raw-zip", "zip", raw))


def _manifest(raw: Path) -> Path:
    lines = [
        f"{path},{path.parent.name},{'test' if path.stem == '0' else 'train'}\n"
        for path in sorted(raw.glob("*/*.png"))
    ]
    Path("labels.csv").write_text("path,label,split\n" + "".join(lines))
    return Path("labels.csv")


def _parquet(raw: Path) -> Path:
    paths = sorted(raw.glob("*/*.png"))
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "label": [int(p.parent.name == "b") for p in paths],
    }
    Path("parquet").mkdir()
    pq.write_table(pa.table(columns), "parquet/train-00000-of-00001.parquet")
    return Path("parquet")


def _eurosat(raw: Path) -> Path:
    shutil.copytree(raw, "downloads/eurosat/2750")
    return Path("downloads")


@pytest.mark.parametrize(
    ("make", "format"),
    [
        (_zip, "image_folder"),
        (_manifest, "manifest"),
        (_parquet, "huggingface"),
        (_eurosat, {"name": "torchvision", "dataset": "EuroSAT"}),
    ],
    ids=["zip", "manifest", "parquet", "torchvision"],
)
def test_every_format_is_recognised(
    folder: Folder, resolved: Callable[..., Any], make: Callable[[Path], Path], format: Any
) -> None:
    path, summary = new_recipe("mine", "classification", make(folder("raw", {"a": 4, "b": 4}, size=(12, 12))))
    assert summary.startswith("8 images, 2 classes")
    assert yaml.safe_load(path.read_text())["data"]["format"] == format
    assert resolved(path).recipe["image"]["size"] == [32, 32]


def test_what_no_format_reads(project: Path) -> None:
    Path("notes.txt").write_text("x")
    with pytest.raises(
        RequestError, match="'notes.txt', a file, expected a folder of class folders, or a .zip of it"
    ):
        new_recipe("mine", "classification", Path("notes.txt"))
