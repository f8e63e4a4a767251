"""Rows of no sample, of one and of five through every stage.

Rows go in, answers come out, batches count samples.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.stages.report.finished_run import Finished
from tests.fixtures.tiles import answers, run_all


@pytest.mark.filterwarnings("ignore")  # MLflow's
def test_rows_of_none_one_and_five_samples_through_every_stage(tiles: Path) -> None:
    run = run_all("tiles", {})
    dataset = PreparedDataset(run.path("data"))
    split = {name: dataset.split(name).column("tiles") for name in ("train", "val", "test")}
    assert all(set(counts) == {0, 1, 5} for counts in split.values())

    steps = [p.step for _, p in read_history(run.path("history.jsonl")) if "epoch" not in p.metrics]
    assert max(steps) == 2 * (sum(split["train"]) // 8), "training batches count samples"

    measured = json.loads((run.path("evaluation") / "metrics.json").read_text())["metrics"]
    assert measured["accuracy"] > 0.6
    kept = pq.read_table(run.path("evaluation") / "predictions.parquet").to_pylist()
    assert Counter(row["id"] for row in kept) == Counter(dataset.split("test").column("id"))

    found = answers(run.path("predictions"))
    assert list(found) == dataset.split("test").column("id")
    for id, tiles_of_row in zip(found, split["test"], strict=True):
        assert (found[id] == [0.5, 0.5]) == (tiles_of_row == 0)
    for row in kept:
        assert row["probabilities"] == pytest.approx(found[row["id"]], abs=1e-4)

    done = Finished(run)
    assert {shown.row["id"] for shown in done.find(list(found)[:5]).values()} == set(list(found)[:5])
    assert len(list(run.path("predictions").glob("_overlays/*.jpg"))) == 3
    assert "Worst answers" in run.path("report.html").read_text()
