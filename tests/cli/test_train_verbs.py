"""The verbs about training, on a finished project: lr-find and learning-curve."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvflow.config import Recipe
from cvflow.errors import RequestError
from cvflow.verbs.learning_curve import parse_images
from cvflow.verbs.lr_find import lr_find, to_type

Cvflow = Callable[..., subprocess.CompletedProcess[str]]


def test_lr_find_gives_a_rate_a_plot_and_what_to_type(ran: Any, copied: Path, cvflow: Cvflow) -> None:
    given = [f"{key}={json.dumps(value)}" for key, value in ran.overrides.items()]
    kept = (
        "params.yaml",
        "dvc.lock",
        "runs/squares/recipe.yaml",
        "runs/squares/data/dataset.json",
        "runs/squares/model/model.safetensors",
    )
    before = {name: (copied / name).read_bytes() for name in kept}
    done = cvflow(copied, "lr-find", "squares", *given, "train.epochs=1", "--steps", "40", "--min", "1e-4")
    lines = done.stdout.splitlines()[-4:]
    assert [line[:19].strip() for line in lines] == [
        "steepest descent at",
        "a tenth of the best",
        "plot",
        "now type",
    ]
    rate = float(lines[0].split()[-1])
    assert 1e-4 < rate < 10
    assert lines[3].split("now type")[1].split()[:3] == ["cvflow", "run", "squares"]
    assert f"train.optimizer.lr={rate:g}" in lines[3]
    assert "train.batch_size=8" in lines[3], "what was given is given again"
    said = json.loads((copied / "runs/squares/lr-find.json").read_text())
    assert len(said["lrs"]) == len(said["losses"]) <= 40
    page = (copied / "runs/squares/lr-find.html").read_text()
    assert "Loss by learning rate" in page
    assert {name: (copied / name).read_bytes() for name in kept} == before, "the finished run stays as it was"


def test_lr_find_on_other_data_than_the_finished_run_s_is_refused(copied: Path, cvflow: Cvflow) -> None:
    before = (copied / "params.yaml").read_text()
    said = cvflow(copied, "lr-find", "squares", "data.split.test=0.3", "compute.threads=1", code=2).stderr
    assert (
        "run squares: got prepared data that are not this recipe's: "
        "data.split.test, expected the same data. Type --name squares-lr" in said
    )
    assert (copied / "params.yaml").read_text() == before


def test_rates_the_wrong_way_round_are_refused(project: Path) -> None:
    with pytest.raises(
        RequestError, match="--min, --max: got 1, 0.1, expected two rates above 0, the lower first"
    ):
        lr_find("digits", {}, None, 1.0, 0.1, 100)
    assert list(project.iterdir()) == []


def test_what_to_type_where_a_phase_has_its_own_optimiser() -> None:
    def typed(**train: Any) -> str:
        return to_type(
            "r.yaml",
            {"seed": 3},
            "x",
            Recipe.model_validate({"task": "classification", "data": {"format": "digits"}, "train": train}),
            0.1,
        )

    assert typed(phases=[{"epochs": 1}]) == "cvflow run r.yaml seed=3 train.optimizer.lr=0.1 --name x"
    assert (
        typed(phases=[{"kind": "fit"}, {"optimizer": "adamw"}])
        == "optimizer: {lr: 0.1} in phase 2 of train.phases"
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_learning_curve_has_a_run_a_point_and_skips_those_done(
    ran: Any, copied: Path, cvflow: Cvflow
) -> None:
    given = [f"{key}={json.dumps(value)}" for key, value in ran.overrides.items()]
    champions = cvflow(copied, "models", "squares", "--json").stdout
    curve = json.loads(
        cvflow(copied, "learning-curve", "squares", *given, "--images", "4,1", "--json").stdout
    )
    assert [(p["images"], p["trained_on"], p["run"]) for p in curve["points"]] == [
        (1, 2, "squares-n1"),
        (4, 8, "squares-n4"),
    ]
    assert all(0 <= p["metrics"]["accuracy"] <= 1 for p in curve["points"])
    assert "training images a class" in (copied / curve["plot"]).read_text()
    assert cvflow(copied, "models", "squares", "--json").stdout == champions, "its models are its own"
    trained = (copied / "runs/squares-n1/model/model.safetensors").stat().st_mtime_ns
    again = cvflow(copied, "learning-curve", "squares", *given, "--images", "1,2").stdout.splitlines()
    assert [line.split()[0] for line in again[-4:]] == ["IMAGES", "1", "2", "plot"]
    assert (copied / "runs/squares-n1/model/model.safetensors").stat().st_mtime_ns == trained


@pytest.mark.parametrize("text", ["", "0", "1,,2", "1,x", "-3", "1.5"])
def test_numbers_of_images_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="--images: got"):
        parse_images(text)
