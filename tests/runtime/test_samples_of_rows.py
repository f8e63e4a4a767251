"""Rows of no sample, of one and of five on two workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvflow.config import Compute
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.stages.predict import predict_path
from tests.fixtures.tiles import answers, run_all


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's, MLflow's
def test_two_workers_answer_rows_alike(local_ray: None, tiles: Path) -> None:
    """Trained by two workers, the model is measured and answers on two as on none."""
    run = run_all("two", {"compute.workers": 2})
    two = answers(run.path("predictions"))
    views = run.recipe.predict.views
    compute = Compute(threads=1, device="cpu")
    predict_path(run.path("model"), "two/1", run.path("data"), Path("alone"), compute, 6, views=views)
    alone = answers(Path("alone"))
    assert list(alone) == list(two)
    for id, probabilities in alone.items():
        assert probabilities == pytest.approx(two[id], abs=1e-4)
    measured = json.loads((run.path("evaluation") / "metrics.json").read_text())["metrics"]
    assert measured["accuracy"] > 0.6
    steps = [p.step for _, p in read_history(run.path("history.jsonl")) if "epoch" not in p.metrics]
    counts = PreparedDataset(run.path("data")).split("train").column("tiles")
    assert max(steps) == 2 * (sum(counts) // 8), (
        "a step takes as many samples, however many workers share them"
    )
