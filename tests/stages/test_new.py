"""``cvflow new``: the recipe that it writes fits the data and resolves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cvflow.errors import CvflowError, RequestError
from cvflow.stages.new import model_size, new_recipe
from cvflow.stages.run import read_runs

Folder = Callable[..., Path]


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        ((12, 12), "L", {"size": [32, 32], "channels": 1, "resize": "stretch", "backbone": "cifar_resnet", "crop": "random_crop"}),
        ((60, 50), "RGB", {"size": [64, 64], "channels": 3, "resize": "stretch", "backbone": "cifar_resnet", "crop": "random_crop"}),
        ((300, 250), "L", {"size": [224, 224], "channels": 1, "resize": "crop", "backbone": "torchvision", "crop": "random_resized_crop"}),
        (
            (140, 110),
            "RGB",
            {"size": [128, 128], "channels": 3, "resize": "crop", "backbone": "torchvision", "crop": "random_resized_crop"},
        ),
    ],
    ids=["small grey", "small colour", "big grey", "big colour"],
)
def test_the_recipe_fits_the_images(
    folder: Folder, resolved: Callable[..., Any], size: tuple[int, int], mode: str, expected: dict[str, Any]
) -> None:
    path, summary = new_recipe("mine", "classification", folder("raw", {"cat": 3, "dog": 3}, size, mode))
    assert summary.startswith(f"6 images, 2 classes (cat, dog), {'grey' if mode == 'L' else 'colour'}, read as image_folder")
    assert path.read_text().startswith("# cvflow run mine\n")
    recipe = resolved(path).recipe
    assert recipe["image"] == {key: expected[key] for key in ("size", "channels", "resize")}
    assert recipe["model"]["backbone"]["name"] == expected["backbone"]
    assert [t["name"] for t in recipe["train"]["augment"]] == [expected["crop"], "horizontal_flip"]
    assert read_runs() == {"mine": {"recipe": "pipelines/mine.yaml", "source": "raw", "overrides": {}}}


def test_colour_counts_where_one_image_has_it_and_unreadable_ones_are_counted(folder: Folder, project: Path) -> None:
    raw = folder("raw", {"a": 4, "b": 4})
    folder("colour", {"a": 1, "b": 1}, mode="RGB")
    (project / "colour/a/0.png").rename(raw / "a" / "9.png")
    (raw / "b" / "0.png").write_bytes((raw / "b" / "0.png").read_bytes()[:40])
    path, summary = new_recipe("mine", "classification", raw)
    assert "9 images, 2 classes (a, b), colour, read as image_folder; 1 of 9 looked at unreadable" in summary
    assert yaml.safe_load(path.read_text())["image"]["channels"] == 3


def test_data_outside_the_project(folder: Folder, project: Path, monkeypatch: pytest.MonkeyPatch, resolved: Callable[..., Any]) -> None:
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
        ({"a": 1, "b": 1}, "mi ne", "classification", "NAME: got 'mi ne', expected letters.*Type 'cvflow new mi-ne"),
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


@pytest.mark.parametrize(("sides", "size"), [([8], 32), ([32, 32], 32), ([33], 64), ([100, 20, 90], 96), ([4000], 224)])
def test_model_size(sides: list[int], size: int) -> None:
    assert model_size(sides) == size


def _zip(raw: Path) -> Path:
    return Path(shutil.make_archive("raw-zip", "zip", raw))


def _manifest(raw: Path) -> Path:
    lines = [f"{path},{path.parent.name},{'test' if path.stem == '0' else 'train'}\n" for path in sorted(raw.glob("*/*.png"))]
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
    [(_zip, "image_folder"), (_manifest, "manifest"), (_parquet, "huggingface"), (_eurosat, {"name": "torchvision", "dataset": "EuroSAT"})],
    ids=["zip", "manifest", "parquet", "torchvision"],
)
def test_every_format_is_recognised(folder: Folder, resolved: Callable[..., Any], make: Callable[[Path], Path], format: Any) -> None:
    path, summary = new_recipe("mine", "classification", make(folder("raw", {"a": 4, "b": 4}, size=(12, 12))))
    assert summary.startswith("8 images, 2 classes")
    assert yaml.safe_load(path.read_text())["data"]["format"] == format
    assert resolved(path).recipe["image"]["size"] == [32, 32]


def test_what_no_format_reads(project: Path) -> None:
    Path("notes.txt").write_text("x")
    with pytest.raises(RequestError, match="'notes.txt', a file, expected a folder of class folders, or a .zip of it"):
        new_recipe("mine", "classification", Path("notes.txt"))
