"""A pair task through the stages: from scenes to files in the field's formats.

A model is measured on data that has only a test split.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from cvflow.annotations import KINDS
from cvflow.annotations.files import kitti, pfm
from cvflow.config import Compute
from cvflow.errors import RequestError
from cvflow.formats.built_in.layered_scenes import LayeredScenes
from cvflow.project.pipeline import run_stage
from cvflow.project.project import make_entry, write_entry
from cvflow.stages.predict import predict_path
from cvflow.verbs.api import load

RECIPE = {
    "task": "stereo",
    "data": {
        "format": {"name": "layered_scenes", "count": 10, "size": [32, 48], "most": 8},
        "split": {"val": 0.2},
    },
    "image": {"size": [32, 48]},
    "model": {
        "name": "cost_volume_stereo",
        "max_disparity": 8,
        "channels": 8,
        "feature_stride": 4,
        "depth": 0,
    },
    "train": {"epochs": 1, "batch_size": 4, "augment": [{"name": "horizontal_flip"}, {"name": "zoom"}]},
    "compute": {"threads": 1, "device": "cpu"},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's
def test_a_pair_task_end_to_end(project: Path) -> None:
    Path("p").mkdir()
    Path("p/small.yaml").write_text(yaml.safe_dump(RECIPE))
    write_entry("small", make_entry(Path("p/small.yaml"), {}))
    for stage in ("resolve", "prepare", "train", "evaluate"):
        run_stage(stage, "small")
    measured = json.loads(Path("runs/small/evaluation/metrics.json").read_text())["metrics"]
    assert {"epe", "bad3", "d1", "loss"} <= set(measured)

    records = list(LayeredScenes(None, count=5, size=(40, 60), most=8.0, seed=1))
    for record in records:
        for name, read in record.images.items():
            Path("new", name).mkdir(parents=True, exist_ok=True)
            Path("new", name, f"{record.id}.png").write_bytes(read())
    written = predict_path(
        Path("runs/small/model"),
        "small/1",
        Path("new"),
        Path("out"),
        Compute(workers=0),
        batch_size=2,
        overlays=1,
    )
    assert (written.rows, written.faults) == (5, 0)
    found = {path.name: path for path in Path("out").rglob("scene-*") if path.suffix in (".pfm", ".png")}
    answer = pfm.read(found["scene-00002.pfm"].read_bytes())
    assert answer.shape == (40, 60)

    (alone,) = load("runs/small/model", "cpu").predict(
        [{name: read() for name, read in records[2].images.items()}]
    )
    disparity = KINDS["disparity"].decode(alone["disparity"])
    assert np.allclose(disparity, answer, atol=1e-4)
    assert (
        np.abs(kitti.read_disparity(kitti.write_disparity(disparity)) - np.maximum(disparity, 1 / 256)).max()
        <= 1 / 512
    )
    with pytest.raises(RequestError, match=r"one image, expected \{\"left\": IMAGE, \"right\": IMAGE\}"):
        load("runs/small/model", "cpu").predict([b""])

    weights = {
        "model.weights": "runs/small/model/model.safetensors",
        "train.epochs": 0,
        "data.split": {"val": 0, "test": 1},
    }
    write_entry("tested", make_entry(Path("p/small.yaml"), weights))
    for stage in ("resolve", "prepare", "train", "evaluate"):
        run_stage(stage, "tested")
    tested = json.loads(Path("runs/tested/evaluation/metrics.json").read_text())["metrics"]
    assert 0 < tested["epe"] < 8
    assert tested["epe"] != measured["epe"]  # all ten scenes, not two
