"""The evaluate stage with test-time views: they are said, they are a key of the stage, and scores by others are not compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvflow.stages.evaluate import evaluate, measured_on, read_metrics
from cvflow.stages.prepare import prepare
from cvflow.stages.project import make_entry, write_entry
from cvflow.stages.resolve import resolve
from cvflow.stages.run import Run
from cvflow.stages.train import train

TINY = {"train.epochs": 0, "image.size": [8, 8], "compute.threads": 1, "data.split.test": 0.1}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_views_are_said_and_change_what_is_compared(project: Path, repository: Path) -> None:
    measured, keys = [], []
    for views in ([], ["horizontal_flip"], [{"name": "five_crops", "scale": 1.2}, "horizontal_flip"]):
        write_entry("tiny", make_entry(repository / "pipelines" / "digits.yaml", {**TINY, "evaluate.views": views}))
        run = Run("tiny")
        for stage in (resolve, *(() if measured else (prepare, train)), evaluate):
            stage(run)
        measured.append(read_metrics(run))
        keys.append(run.fingerprint("evaluate", "x"))
    assert [[view["name"] for view in found["views"]] for found in measured] == [[], ["horizontal_flip"], ["five_crops", "horizontal_flip"]]
    assert measured[2]["views"][0]["scale"] == 1.2
    assert len(set(keys)) == len({measured_on(found) for found in measured}) == 3
    assert measured_on(measured[0]) == measured[0]["data_digest"]
    assert len({found["metrics"]["log_loss"] for found in measured}) == 3
