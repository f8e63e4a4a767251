"""The evaluate stage: test-time views are named, and scores by others are not compared.

The maps of answers are not kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvflow.annotations import mask
from cvflow.engine.infer import Predictor
from cvflow.project.graph import Run
from cvflow.project.pipeline import run_stage
from cvflow.project.project import make_entry, write_entry
from cvflow.stages.evaluate import evaluate, measured_on, read_metrics
from cvflow.stages.predict import evaluated_folder
from cvflow.stages.predict.evaluated import (
    AnswerKeeper,
    complete,
    emptied,
    evaluated_answers,
    numbered_tables,
    request_key,
)
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


@pytest.mark.filterwarnings("ignore")  # MLflow's
def test_predict_writes_the_answers_of_evaluate(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split is answered once.

    Without what evaluate kept, or for another request, the model is run, with the same answers.
    """
    project = shutil.copytree(finished, tmp_path / "project")
    monkeypatch.chdir(project)
    run = Run("good")
    run_stage("evaluate", "good")
    kept = evaluated_folder(run)
    files = sorted(kept.glob("batch-*.parquet"))
    assert files
    ran: list[int] = []
    model = Predictor._predictions
    monkeypatch.setattr(
        Predictor, "_predictions", lambda self, decoded: ran.append(1) or model(self, decoded)
    )
    run_stage("predict", "good")
    once = pq.read_table(run.path("predictions"))
    assert ran == []
    assert not kept.exists()
    run_stage("predict", "good")
    assert ran
    again = pq.read_table(run.path("predictions"))
    assert again.schema == once.schema
    assert again["id"] == once["id"]
    for left, right in zip(
        once["probabilities"].to_pylist(), again["probabilities"].to_pylist(), strict=True
    ):
        assert left == pytest.approx(right, abs=1e-5)


def test_answers_are_taken_only_if_all_are_there(tmp_path: Path) -> None:
    schema = pa.schema({"row": pa.int64(), "id": pa.string(), "error": pa.string(), "class": pa.string()})
    folder = emptied(tmp_path / "evaluated")
    keep = AnswerKeeper(folder, schema)
    for batch, ids in enumerate(("ab", "cde", "f")):
        keep(batch, [Prediction(id, {"class": "x"}) for id in ids])
    key = request_key("m", "d", "test", ())
    assert evaluated_answers(folder, key, 6) == [], "not said to be complete"
    complete(folder, key)
    files = evaluated_answers(folder, key, 6)
    assert len(files) == 3
    assert evaluated_answers(folder, key, 7) == []
    assert evaluated_answers(folder, request_key("other", "d", "test", ()), 6) == []
    rows = [row for table in numbered_tables(files, 3) for row in table.to_pylist()]
    assert [(row["row"], row["id"]) for row in rows] == [(3, "d"), (4, "e"), (5, "f")]
    assert [len(table) for table in numbered_tables(files, 0)] == [2, 3, 1]
    assert list(numbered_tables(files, 6)) == []
