"""Every shipped recipe of a built-in sample, made tiny, through every stage.

What the report shows, and the files of its answers.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.dataset as ds
import pytest
from PIL import Image

from cvflow.draw import Gallery
from cvflow.project.graph import STAGES, Run
from cvflow.project.pipeline import run_stage
from cvflow.project.project import make_entry, shipped, write_entry
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.registry import build, names
from cvflow.stages.report import sections
from cvflow.stages.report.finished_run import Finished
from cvflow.stages.tune.result import read_results

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow's
QUICK = {"train.epochs": 1, "train.batch_size": 8, "compute.threads": 1, "compute.device": "cpu"}
UNET = {"name": "unet", "width": 4, "levels": 3}
BOXES = {"name": "digit_boxes", "size": 64, "count": 60, "digits": [0, 1, 2]}
PAIRS = {"image.size": [32, 48], "predict.overlays": 2}


def scenes(pairs: str) -> dict[str, Any]:
    return {"name": "layered_scenes", "pairs": pairs, "count": 15, "size": [36, 54], "most": 6}


class Sample(NamedTuple):
    """overrides: what makes it tiny. blocks: of the report's details. words: in its page.

    suffixes: of an answer's files.
    """

    overrides: dict[str, Any]
    blocks: list[str]
    words: list[str]
    suffixes: set[str]
    overlays: int = 2


SAMPLES = {
    "segmentation-samples": Sample(
        {
            "data.format": {"name": "digit_scenes", "size": 48, "count": 36},
            "model.backbone": UNET,
            "predict.overlays": 2,
        },
        ["matrix", "table"],
        [">iou<", "background", "test miou", "mean IoU of the image"],
        {".png"},
    ),
    "localization-samples": Sample(
        {"data.format": BOXES, "model.backbone": UNET, "predict.overlays": 2},
        ["matrix", "table"],
        [">mean iou<", ">box accuracy<", "IoU"],
        set(),
    ),
    "embedding-samples": Sample(
        {
            "data.format": {"name": "digit_identities", "identities": 30, "images": 4},
            "model.backbone.width": 4,
        },
        ["curves", "curves", "lineups"],
        ["impostor pairs accepted", "recall at 1"],
        set(),
        0,
    ),
    "stereo-samples": Sample(
        {
            **PAIRS,
            "data.format": scenes("stereo"),
            "model.max_disparity": 8,
            "model.channels": 8,
            "model.depth": 0,
        },
        ["curves"],
        ["share of pixels off by more", "test bad3", "-EPE"],
        {".pfm", ".png"},
    ),
    "flow-samples": Sample(
        {**PAIRS, "data.format": scenes("flow"), "model.channels": [8, 8], "model.width": 8},
        ["curves"],
        ["share of pixels off by more", "test fl", "-EPE"],
        {".flo", ".png"},
    ),
}


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The recipe's name; its project, all stages done, is the current directory. Only to be looked at."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(tmp_path_factory.mktemp(request.param))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_entry(
            request.param, make_entry(shipped()[request.param], {**QUICK, **SAMPLES[request.param].overrides})
        )
        for stage in ["resolve", *(stage.name for stage in STAGES)]:
            run_stage(stage, request.param)
        yield request.param


def test_every_task_has_a_sample() -> None:
    """The digits are classification's, and go through every stage in many tests."""
    assert set(SAMPLES) == {name for name in shipped() if name.endswith("-samples")}
    assert {*(name.removesuffix("-samples") for name in SAMPLES), "classification"} == set(names("task"))


def test_the_report_shows_what_the_task_measures_and_draws(sample: str) -> None:
    done, expected = Finished(Run(sample)), SAMPLES[sample]
    found = {section.title: section.blocks for section in sections(done)}
    assert {"Results", "Training", "Details", "Data", "Lineage"} <= set(found)
    assert sorted(block.kind for block in found["Details"]) == expected.blocks
    html = Run(sample).path("report.html").read_text()
    assert [
        word for word in [*expected.words, done.objective.metric.replace("_", " ")] if word not in html
    ] == []
    if done.task.compared_by:  # no answer is better than another by itself
        assert "Images" not in found
        return
    worst, best = found["Images"]
    assert isinstance(worst, Gallery)
    assert isinstance(best, Gallery)
    shown = [item for gallery in (worst, best) for item in gallery.items]
    assert len(shown) == 2 * min(12, done.dataset.info.counts["test"])
    height, width = done.recipe.image.size
    assert all(item.image.shape[1] > item.image.shape[0] * width / height for item in shown), (
        "truth and answer beside each other"
    )
    assert all(item.image.std() > 0 for item in shown)
    assert html.count("data:image/png;base64,") >= len(shown)


def test_answers_are_files_overlays_and_rows(sample: str) -> None:
    expected, predictions = SAMPLES[sample], Run(sample).path("predictions")
    table = ds.dataset([str(path) for path in predictions.glob("part-*.parquet")]).to_table()
    ids = table.column("id").to_pylist()
    done = Finished(Run(sample))
    assert len(set(ids)) == len(ids) == done.dataset.info.counts["test"]
    assert set(build("task", done.recipe.task).answers) <= set(table.column_names)
    assert set(table.column("error").to_pylist()) == {None}
    files = [path for path in (predictions / "_files").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == expected.suffixes
    assert len(files) == len(ids) * len(expected.suffixes)
    overlays = [path for path in (predictions / "_overlays").rglob("*") if path.is_file()]
    assert len(overlays) == expected.overlays
    for path in overlays:
        with Image.open(path) as image:
            assert image.convert("RGB").getextrema() != ((0, 0),) * 3


def test_the_model_is_registered(sample: str) -> None:
    registered = json.loads(Run(sample).path("registered.json").read_text())
    assert (registered["model"], registered["version"]) == (sample, 1)
    measured = json.loads((Run(sample).path("evaluation") / "metrics.json").read_text())["metrics"]
    assert Finished(Run(sample)).objective.metric in measured


@pytest.fixture(scope="module")
def ray_ends() -> Iterator[None]:
    """The searches of this module share a local Ray."""
    yield
    import ray

    ray.shutdown()


@pytest.mark.ray
@pytest.mark.usefixtures("project", "ray_ends")
@pytest.mark.parametrize("name", SAMPLES)
def test_a_search_compares_trials_by_the_task_s_own_objective(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    search = {
        "search.space.train.optimizer.lr": [1e-6, 1e-3],
        "search.algorithm": "grid",
        "search.concurrency": 1,
    }
    write_entry(name, make_entry(shipped()[name], {**QUICK, **SAMPLES[name].overrides, **search}))
    for stage in ("resolve", "prepare", "tune"):
        run_stage(stage, name)
    run = Run(name)
    found, objective = read_results(run), build("task", run.recipe.task).objective(run.recipe)
    assert (found["metric"], found["direction"]) == (f"val_{objective.metric}", objective.direction)
    assert [(trial["state"], trial["epochs"], trial["reason"]) for trial in found["trials"]] == [
        ("done", 1, "")
    ] * 2
    best, worse = found["trials"]
    assert {best["params"]["train.optimizer.lr"], worse["params"]["train.optimizer.lr"]} == {1e-6, 1e-3}
    assert best["metrics"]["val_loss"] != worse["metrics"]["val_loss"], (
        "which every task has, whatever its losses are called"
    )
    for trial in (best, worse):
        assert trial["score"] == trial["metrics"][found["metric"]]
    assert best["score"] == worse["score"] or objective.better(best["score"], worse["score"])
    recipe = resolve_layers(load(run.path("search") / "best.yaml", {})).recipe
    assert recipe["train"]["optimizer"]["lr"] == best["params"]["train.optimizer.lr"]
    assert recipe["task"] == run.resolved["task"]
