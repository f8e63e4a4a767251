"""``cvflow data check``: a page and plain data about raw images, with nothing else touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cvflow.annotations.files import flo, pfm
from cvflow.cli.app import app
from cvflow.errors import RequestError
from cvflow.verbs.data_check import check_data

Folder = Callable[..., Path]


@pytest.fixture
def raw(project: Path) -> Path:
    """Two classes of noise in given splits: a leak, a damaged file and a name that HTML must not read."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for kind in ("cat", "<dog>"):
            (project / "raw" / split / kind).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draw.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(
                    project / "raw" / split / kind / f"{i}.png"
                )
    shutil.copy(project / "raw/train/cat/0.png", project / "raw/test/cat/leak.png")
    (project / "raw/train/cat/1.png").write_bytes(b"rubbish")
    return project / "raw"


def test_the_page(raw: Path, project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    seen = check_data(raw, out=project / "page.html")
    assert (seen.format, seen.classes, seen.validation.counts) == (
        "image_folder",
        ("<dog>", "cat"),
        {"train": 23, "val": 0, "test": 7},
    )
    html = (project / "page.html").read_text()
    assert "Train and test share (1)" in html
    assert "the same bytes as" in html
    assert "train/cat/1.png" in html
    assert "<td>&lt;dog&gt;</td>" in html
    assert "<dog>" not in html
    # eight of each class, and the two that are the same
    assert html.count("data:image/png;base64,") == 18
    assert html.count('class="cards"') == 3
    assert "thumbnails do not tell these classes apart" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert before == {path: path.stat().st_mtime_ns for path in raw.rglob("*")}


def test_the_same_page_twice(raw: Path, project: Path) -> None:
    assert (
        check_data(raw, out=project / "a.html").page.read_text()
        == check_data(raw, out=project / "b.html").page.read_text()
    )


def test_as_json_and_in_words(raw: Path) -> None:
    said = CliRunner().invoke(app, ["data", "check", "raw", "--json"])
    assert said.exit_code == 0
    answer = json.loads(said.stdout)
    assert answer["findings"][0]["topic"] == "train and test share"
    assert answer["facts"]["sizes"] == [[30, 20, 30]]
    said = CliRunner().invoke(app, ["data", "check", "raw", "--out", "other.html"])
    topics = [line for line in said.stdout.splitlines() if not line.startswith("    ")]
    assert topics[:3] == [
        "30 images, 2 classes, read as image_folder",
        "  train and test share: 1",
        "  unreadable: 1",
    ]
    assert "    train/cat/1.png: not an image" in said.stdout
    assert Path("other.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format_name": "torchvision"}, "data.format.dataset: got nothing, expected a value"),
        ({"overrides": {"data.format.colour": 1}}, "data.format.colour: got the unknown key 'colour'"),
        (
            {"overrides": {"train.epochs": 1}},
            "train.epochs: got a key that data check does not read, expected an option of the format",
        ),
        ({"source": Path("nowhere")}, "PATH: got 'nowhere', expected a folder or file that exists"),
        ({"format_name": "image_foldr"}, "--format: got 'image_foldr'.*Did you mean 'image_folder'"),
        ({"task_name": "clasification"}, "--task: got 'clasification'.*Did you mean 'classification'"),
        ({"out": Path("raw/page.html")}, "inside the data"),
        ({"out": Path("/proc/page.html")}, "nothing can be written"),
        ({"out": Path("raw")}, "got 'raw', a folder"),
    ],
    ids=["torchvision", "option", "key", "source", "format", "task", "inside", "no place", "folder"],
)
def test_what_is_refused(raw: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_data(**{"source": Path("raw"), **options})  # type: ignore[arg-type]


def test_a_table_s_faults_are_said_alone_and_may_be_looked_past(raw: Path) -> None:
    flat = raw.parent / "flat"
    shutil.copytree(raw / "train/<dog>", flat)
    (flat / "labels.csv").write_text("path,label\n0.png,cat\n2.png,dog\n../odd.png,cat\n")
    said = CliRunner().invoke(app, ["data", "check", "flat"])
    assert isinstance(said.exception, RequestError)
    assert [fault.where for fault in said.exception.faults] == ["labels.csv:4"], "not what other formats miss"
    said = CliRunner().invoke(app, ["data", "check", "flat", "data.format.faulty_rows=leave_out", "--json"])
    answer = json.loads(said.stdout)
    assert answer["counts"]["train"] == 2
    assert [f["file"] for f in answer["findings"] if f["topic"] == "not a record"] == ["labels.csv:4"]
    assert "labels.csv:4" in Path("data-check.html").read_text()


@pytest.fixture
def masked(project: Path) -> Path:
    """Six images with masks of two classes and void; one mask has a wrong label, one another size."""
    draw = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (project / "roads" / folder).mkdir(parents=True)
    for i in range(6):
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(
            project / f"roads/images/{i}.png"
        )
        labels = draw.choice(np.array([0, 1, 255], np.uint8), (20, 30) if i != 5 else (20, 31))
        Image.fromarray(labels).save(project / f"roads/masks/{i}.png")
    Image.fromarray(np.full((20, 30), 7, np.uint8)).save(project / "roads/masks/4.png")
    (project / "roads/classes.txt").write_text("road\nsky\n")
    return project / "roads"


def test_masks_are_checked_and_drawn(masked: Path, project: Path) -> None:
    seen = check_data(masked, task_name="segmentation", out=project / "page.html")
    assert (seen.format, seen.classes, seen.validation.counts["train"]) == ("image_mask", ("road", "sky"), 4)
    found = {
        finding.file: finding.what
        for finding in seen.validation.findings
        if finding.topic == "wrong annotation"
    }
    assert "7 (600 pixels)" in found["images/4.png (masks/4.png)"]
    assert found["images/5.png (masks/5.png)"] == "a mask of 31x20 pixels for an image of 30x20"
    html = (project / "page.html").read_text()
    assert html.count("data:image/png;base64,") == 6, "four as annotated, two wrong ones"
    assert "Share of the pixels" in html
    assert f"{seen.validation.facts['void']:.1%} of the pixels" in html


def noise(path: Path, seed: int, size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def stereo_pairs(folder: Path) -> None:
    for i in range(5):
        noise(folder / f"left/{i}.png", i)
        noise(folder / f"right/{i}.png", 10 + i)
        (folder / "disparity").mkdir(exist_ok=True)
        (folder / f"disparity/{i}.pfm").write_bytes(pfm.write(np.full((20, 30), 3 if i else -3, np.float32)))


def motions(folder: Path) -> None:
    for i in range(5):
        noise(folder / f"first/{i}.png", i)
        noise(folder / f"second/{i}.png", 10 + i)
        (folder / "flow").mkdir(exist_ok=True)
        (folder / f"flow/{i}.flo").write_bytes(flo.write(np.full((20, 30 if i else 31, 2), 2, np.float32)))


def boxes(folder: Path) -> None:
    for i in range(5):
        noise(folder / f"{i}.png", i)
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'},1,2,{20 if i else 31},15" for i in range(5)]
    (folder / "boxes.csv").write_text("\n".join(["path,label,xmin,ymin,xmax,ymax", *rows]))


def people(folder: Path) -> None:
    for i in range(5):
        noise(folder / ("anna" if i > 2 else "bert" if i else "carl") / f"{i}.png", i)


@pytest.mark.parametrize(
    ("make", "task", "pictures", "said"),
    [
        (
            stereo_pairs,
            "stereo",
            4 + 1,
            "left/0.png (disparity/0.pfm), id 0: a negative disparity at 600 pixels, down to -3",
        ),
        (
            motions,
            "flow",
            4 + 1,
            "first/0.png (flow/0.flo), id 0: a flow of 31x20 pixels for an image of 30x20",
        ),
        (boxes, "localization", 4 + 1, "0.png (boxes.csv:2): a box"),
        (
            people,
            "embedding",
            5 + 1,
            "carl/0.png: the only image of 'carl': there is none to compare it with",
        ),
    ],
)
def test_every_task_s_data_are_checked_and_drawn(
    make: Callable[[Path], None], task: str, pictures: int, said: str, project: Path
) -> None:
    """All that can be used, and what is found."""
    make(project / "raw")
    seen = check_data(project / "raw", task_name=task, out=project / "page.html")
    (found,) = [finding for finding in seen.validation.findings if finding.records]
    assert str(found).startswith(said)
    html = (project / "page.html").read_text()
    assert html.count("data:image/png;base64,") == pictures
    assert escape(said.partition(": ")[0]) in html


def test_data_of_another_task_are_named(masked: Path, raw: Path) -> None:
    with pytest.raises(
        RequestError, match=r"--task: got 'classification', expected a task that .*Type --task segmentation\."
    ):
        check_data(masked, out=Path("page.html"))
    others = r"Type --task classification or --task embedding\."
    with pytest.raises(RequestError, match=rf"--task: got 'segmentation', expected a task that .*{others}"):
        check_data(raw, task_name="segmentation", out=Path("page.html"))
    for name, task, said in (
        ("image_mask", "classification", "label"),
        ("image_folder", "flow", "first, flow, second"),
    ):
        with pytest.raises(RequestError, match=f"expected {said}, which {task} needs. They would do for"):
            check_data(masked if name == "image_mask" else raw, name, task, out=Path("page.html"))
