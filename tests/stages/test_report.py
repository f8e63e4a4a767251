"""The report of a real run: what it shows is what was trained and measured, and MLflow has it once."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cvflow.dataset import findings
from cvflow.draw import Gallery, Shares, Strips
from cvflow.loading.division import items_of
from cvflow.loading.loader import train_batches
from cvflow.project.graph import Run
from cvflow.project.pipeline import run_stage
from cvflow.registry import Component, build
from cvflow.stages.report import plots, report, sections
from cvflow.stages.report.finished_run import Finished
from cvflow.stages.report.images import Epoch, augmented, variants
from cvflow.stages.report.training import time_split

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture
def done(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    monkeypatch.chdir(finished)
    return Finished(Run("good"))


def test_every_section_is_there(done: Finished) -> None:
    titles = [section.title for section in sections(done)]
    assert titles == ["Results", "Training", "Details", "Images", "Augmentation", "Data", "Lineage"]
    html = Path("runs/good/report.html").read_text()
    assert len(html) < 500_000
    for said in (
        "Training time",
        "Expected calibration error",
        "Samples of each class",
        "12 x 12 (32)",
        "git revision",
        "models:/good/1",
    ):
        assert said in html, said


def trained_by(done: Finished, **train: Any) -> Finished:
    """The run as if its recipe's train section had said so."""
    other, recipe = Finished(replace(done.run)), done.recipe
    vars(other)["recipe"] = recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})
    return other


def test_without_augmentation_and_times_their_blocks_are_left_out(done: Finished) -> None:
    bare = trained_by(done, augment=())
    bare.by_epoch.clear()
    assert "Augmentation" not in [section.title for section in sections(bare)]
    assert list(time_split(bare)) == []


def test_the_time_is_all_of_the_epochs_(done: Finished) -> None:
    (shares,) = (
        block
        for block in next(s for s in sections(done) if s.title == "Training").blocks
        if isinstance(block, Shares)
    )
    summaries = [p.metrics for p in done.points if "epoch" in p.metrics]
    assert shares.parts["backward"] == pytest.approx(sum(m["seconds_backward"] for m in summaries))
    assert list(shares.parts)[:4] == ["data", "forward", "backward", "optimizer"]


def test_the_augmented_images_are_those_that_training_saw(done: Finished) -> None:
    rows, recipe = done.dataset.split("train"), done.recipe
    index, transform = 2, done.task.transforms(recipe, "train")
    seen = variants(done, [Epoch(done, number, recipe) for number in (0, 1)], index)
    for epoch in (0, 1):
        order = items_of([5, index, 0, 1], None)
        (batch,) = train_batches(done.task, rows, transform, order, 4, 0, 1, epoch, recipe.seed)
        assert torch.equal(batch.images["image"][1], torch.from_numpy(seen[1 + epoch]).permute(2, 0, 1))
    assert not np.array_equal(seen[1], seen[2])
    (strips,) = (block for section in sections(done) for block in section.blocks if isinstance(block, Strips))
    assert list(strips.columns) == ["plain", *(f"epoch {i}" for i in range(1, 7))]


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_images_that_are_mixed_are_shown_as_they_were(done: Finished, name: str) -> None:
    """All rows of an epoch, each alone: the bits of the whole batches that training takes."""
    chosen = Component(name=name, alpha=1.0, p=0.7)
    mixed = trained_by(done, augment=(), mix=chosen, batch_size=3)
    rows, recipe, task = mixed.dataset.split("train"), mixed.recipe, mixed.task
    order = items_of(task.sampler(recipe, mixed.dataset.info).order(rows, recipe.seed, 1), None)
    transform = task.transforms(recipe, "train")
    batches = list(
        train_batches(task, rows, transform, order, 3, 0, 1, 1, recipe.seed, mix=build("mix", chosen))
    )
    seen = torch.cat([batch.images["image"] for batch in batches])
    shown = Epoch(mixed, 1, recipe)
    assert shown.taken == {row for row, _ in order[: len(seen)]}
    assert torch.equal(torch.cat([shown[row].images["image"] for row, _ in order[: len(seen)]]), seen)
    assert any(batch.mixed is not None for batch in batches)
    (strips,) = augmented(mixed)
    assert len(strips.columns) == 7
    (section,) = (section for section in sections(mixed) if section.title == "Augmentation")
    assert "mixed" in section.note


def test_a_pass_without_augmentation_is_not_shown_as_augmented(done: Finished) -> None:
    (strips,) = augmented(
        trained_by(done, phases=({"epochs": 2}, {"kind": {"name": "fit"}, "epochs": 9}, {"epochs": 2}))
    )
    assert list(strips.columns) == ["plain", "epoch 1", "epoch 2", "epoch 4", "epoch 5"]


def test_the_worst_answers_come_first_with_their_own_images(done: Finished) -> None:
    worst, best = (
        block for section in sections(done) for block in section.blocks if isinstance(block, Gallery)
    )
    rows = sorted(
        pq.read_table("runs/good/evaluation/predictions.parquet").to_pylist(), key=lambda row: row["quality"]
    )
    test = done.dataset.split("test")
    paths = dict(zip(test.column("id"), test.column("path"), strict=True))
    assert [i.note for i in worst.items] == [paths[row["id"]] for row in rows[:12]]
    assert best.items[0].note == paths[rows[-1]["id"]]
    assert [i.tone for i in worst.items] == ["good" if row["right"] else "bad" for row in rows[:12]]
    truth = Path(worst.items[0].note).parts[0]
    assert worst.items[0].caption.startswith(f"{truth}, answered ")


def test_rows_are_found_by_their_ids(done: Finished) -> None:
    ids = done.dataset.split("test").column("id")
    found = done.find([ids[3], ids[5]])
    assert {name: shown.row["id"] for name, shown in found.items()} == {ids[3]: ids[3], ids[5]: ids[5]}
    assert found[ids[3]].truth.keys() == {"label", "weight"}


def test_mlflow_has_the_report_once_and_the_latest(done: Finished, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{Path.cwd()}/mlflow.db")
    run_id = json.loads(Path("runs/good/registered.json").read_text())["run_id"]

    def artifacts(folder: str = "") -> list[str]:
        return [item.path for item in client.list_artifacts(run_id, folder)]

    before = artifacts(), artifacts("plots")
    assert {"report.html", "data.html", "plots"} <= set(before[0])
    assert {
        "plots/training-loss.html",
        "plots/confusion.html",
        "plots/reliability.html",
        "plots/per-class.html",
    } <= set(before[1])
    Path("runs/good/report.html").unlink()
    report(done.run)
    assert (artifacts(), artifacts("plots")) == before
    kept = Path(client.download_artifacts(run_id, "", str(tmp_path)))
    html = (kept / "report.html").read_text()
    assert html == Path("runs/good/report.html").read_text()
    linked = re.findall(r'href="([^#"]+)"', html)
    assert linked == ["data.html"]
    assert (kept / linked[0]).read_text() == Path("runs/good/data.html").read_text()


def test_what_is_said_of_the_data_and_how_is_not_in_the_data_s_digest(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "runs/good", tmp_path / "runs/good")
    for part in ("raw", "pipelines"):
        shutil.copytree(finished / part, tmp_path / part)
    shutil.copy(finished / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    page, said = (Path("runs/good", name).read_text() for name in ("data.html", "validation.json"))
    digest = Finished(Run("good")).dataset.digest
    monkeypatch.setattr(sys.modules["cvflow.stages.prepare.data_page"], "SIDE", 40)
    monkeypatch.setattr(findings, "TINY", 1)
    run_stage("prepare", "good")
    assert Path("runs/good/data.html").read_text() != page
    assert Path("runs/good/validation.json").read_text() != said
    assert Finished(Run("good")).dataset.digest == digest


def test_plots_stand_alone(done: Finished) -> None:
    pages = plots("good", sections(done))
    assert all(html.startswith("<!doctype html>") and "<nav" not in html for html in pages.values())
