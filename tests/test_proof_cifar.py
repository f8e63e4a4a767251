"""Real photographs: published weights give their published accuracy; a recipe on two workers passes
every stage.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cvflow.engine.history import read_history
from cvflow.project.graph import Run
from cvflow.project.project import make_entry, write_entry
from cvflow.stages.evaluate import evaluate
from cvflow.stages.prepare import prepare
from cvflow.stages.resolve import resolve
from cvflow.stages.train import train

RECIPES = Path(__file__).parent / "recipes"
CVFLOW = str(Path(sys.executable).parent / "cvflow")


@pytest.fixture
def cifar(shared_data: Path) -> Path:
    for path in (shared_data / "cifar10_jpg", shared_data / "weights"):
        if not path.is_dir():
            pytest.skip(f"no {path}")
    return shared_data


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_the_published_resnet56_measures_as_published(
    cifar: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proof of loader and metric: 0.8315 on these 2,000 test images, as a program written by
    hand found too.
    """
    run = Run("cifar10_resnet56")
    write_entry(run.name, make_entry(RECIPES / "cifar10_resnet56.yaml", {"compute.threads": 1}))
    for stage in (resolve, prepare, train, evaluate):
        stage(run)
    assert "277 tensors loaded" in capsys.readouterr().err
    measured = json.loads(run.path("evaluation").joinpath("metrics.json").read_text())
    assert measured["split"] == "test"
    assert measured["metrics"]["accuracy"] == 0.8315
    assert pq.read_metadata(run.path("evaluation") / "predictions.parquet").num_rows == 2000


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_stage_on_two_workers(cifar: Path, project: Path) -> None:
    done = subprocess.run(
        [CVFLOW, "run", str(RECIPES / "cifar10.yaml"), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    # one epoch from scratch; guessing gives 0.1
    assert outcome["metrics"]["accuracy"] > 0.2
    assert outcome["champion"]
    points = [json.loads(line) for line in Path("runs/cifar10/history.jsonl").read_text().splitlines()]
    assert [p["step"] for p in points if "epoch" in p["metrics"]] == [4500 // 64]
    table = pq.read_table("runs/cifar10/predictions")
    assert table.num_rows == len(set(table["id"].to_pylist())) == 2000
    assert table["error"].null_count == 2000
    assert "<html" in Path("runs/cifar10/report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_best_recipe_from_scratch_reaches_its_floor(cifar: Path, project: Path) -> None:
    """In ten minutes on two free cores: the floor stands in the recipe, and only what reaches it
    becomes champion.
    """
    done = subprocess.run(
        [CVFLOW, "run", str(RECIPES / "cifar10_best.yaml"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["metrics"]["accuracy"] >= 0.72
    assert outcome["champion"]
    epochs = [
        p.metrics for _, p in read_history(Path("runs/cifar10_best/history.jsonl")) if "epoch" in p.metrics
    ]
    assert len(epochs) == 58
    assert (
        sum(value for metrics in epochs for name, value in metrics.items() if name.startswith("seconds_"))
        <= 600
    )
