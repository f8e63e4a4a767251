"""The evaluate stage: test-time views are said, and scores by others are not compared; the maps of answers are not kept."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cvflow.annotations import mask
from cvflow.project.graph import Run
from cvflow.project.project import make_entry, write_entry
from cvflow.stages.evaluate import evaluate, measured_on, read_metrics
from cvflow.stages.prepare import prepare
from cvflow.stages.report.finished_run import Finished
from cvflow.stages.resolve import resolve
from cvflow.stages.train import train
from cvflow.types import Prediction

TINY = {"train.epochs": 0, "image.size": [8, 8], "compute.threads": 1, "data.split.test": 0.1}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_views_are_said_and_change_what_is_compared(project: Path, repository: Path) -> None:
    measured, keys = [], []
    for views in ([], ["horizontal_flip"], [{"name": "five_crops", "scale": 1.2}, "horizontal_flip"]):
        write_entry(
            "tiny", make_entry(repository / "pipelines" / "digits.yaml", {**TINY, "evaluate.views": views})
        )
        run = Run("tiny")
        for stage in (resolve, *(() if measured else (prepare, train)), evaluate):
            stage(run)
        measured.append(read_metrics(run))
        keys.append(run.fingerprint("evaluate", "x"))
    assert [[view["name"] for view in found["views"]] for found in measured] == [
        [],
        ["horizontal_flip"],
        ["five_crops", "horizontal_flip"],
    ]
    assert measured[2]["views"][0]["scale"] == 1.2
    assert len(set(keys)) == len({measured_on(found) for found in measured}) == 3
    assert measured_on(measured[0]) == measured[0]["data_digest"]
    assert len({found["metrics"]["log_loss"] for found in measured}) == 3


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_maps_are_not_kept_and_come_again_from_the_model(project: Path, repository: Path) -> None:
    scenes = {"name": "digit_scenes", "size": 40, "count": 24}
    small = {
        "data.format": scenes,
        "image.size": [32, 32],
        "model.backbone": {"name": "unet", "width": 4, "levels": 2},
    }
    overrides = {"train.epochs": 0, "compute.threads": 1, **small, "evaluate.views": ["horizontal_flip"]}
    write_entry("tiny", make_entry(repository / "pipelines" / "segmentation-samples.yaml", overrides))
    run = Run("tiny")
    for stage in (resolve, prepare, train, evaluate):
        stage(run)
    table = pq.read_table(run.path("evaluation") / "predictions.parquet")
    assert table.column_names == ["id", "quality", "right"]
    done = Finished(run)
    answers = done.answers([3, 0])
    assert [answer["id"] for answer in answers] == [table["id"][i].as_py() for i in (3, 0)]
    found = done.find(answer["id"] for answer in answers)
    for answer in answers:
        assert mask.decode(answer["mask"]).shape == (40, 40)
        truth = {"mask": mask.decode(found[answer["id"]].truth["mask"])}
        assert done.task.answer.quality(Prediction(answer["id"], answer), truth) == pytest.approx(
            answer["quality"], abs=0.02
        )
