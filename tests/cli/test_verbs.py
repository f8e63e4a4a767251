"""The other verbs, on real things: list, show, models, promote, predict, doctor, help, completion;
and the Python face.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer.main

import cvflow as python_face
from cvflow.cli.app import app
from cvflow.errors import RequestError
from cvflow.project.project import shipped
from cvflow.verbs.api import predict_batch

Cvflow = Callable[..., subprocess.CompletedProcess[str]]
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_list_has_the_shipped_recipes_and_the_project_s(ran: Any, cvflow: Cvflow) -> None:
    lines = cvflow(ran.path, "list").stdout.splitlines()
    assert lines[0].split() == ["RECIPE", "WHAT", "FILE"]
    assert [line.split()[0] for line in lines[1:]] == [*sorted(shipped()), "squares"]
    listed = {row["name"]: row for row in json.loads(cvflow(ran.path, "list", "--json").stdout)}
    assert listed["squares"] == {
        "name": "squares",
        "description": "2 classes from raw",
        "path": "pipelines/squares.yaml",
    }


def test_show_prints_the_whole_recipe_and_where_it_came_from(ran: Any, cvflow: Cvflow) -> None:
    rows = json.loads(cvflow(ran.path, "show", "squares", "train.epochs=3", "--sources", "--json").stdout)
    value, source = ({row["key"]: row[column] for row in rows} for column in ("value", "source"))
    assert (value["train.epochs"], value["data.source"]) == (3, "raw")
    assert source["train.epochs"] == "override"
    assert source["data.format.name"].startswith("pipelines/squares.yaml:")
    assert source["compute.workers"] == "default"


def test_models_are_listed(ran: Any, cvflow: Cvflow) -> None:
    table = cvflow(ran.path, "models").stdout.splitlines()
    assert table[1].split()[:4] == ["squares", "1", "challenger,", "champion"]
    assert "accuracy 1  " in table[1]


def test_a_model_that_is_not_there(ran: Any, cvflow: Cvflow) -> None:
    done = cvflow(ran.path, "models", "square", code=2)
    assert "got 'square', expected a registered model: one of squares. Did you mean 'squares'?" in done.stderr


def test_promote_by_hand(copied: Path, cvflow: Cvflow) -> None:
    assert cvflow(copied, "promote", "squares", "1").stdout == "squares version 1 is champion\n"
    assert "version" in cvflow(copied, "promote", "squares", "7", code=2).stderr
    assert "expected a version: 1" in cvflow(copied, "promote", "squares", code=2).stderr
    assert "got 1 with --rollback" in cvflow(copied, "promote", "squares", "1", "--rollback", code=2).stderr


def test_predict_a_folder_with_an_unreadable_image(
    ran: Any, tmp_path: Path, cvflow: Cvflow, draw: Callable[..., None]
) -> None:
    draw(tmp_path / "photos", 2, first=70, size=30)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "answers"
    said = json.loads(
        cvflow(
            ran.path,
            "predict",
            "models:/squares@champion",
            str(tmp_path / "photos"),
            "-o",
            str(out),
            "--json",
        ).stdout
    )
    assert said == {"path": str(out), "rows": 5, "faults": 1}
    answers = {row["id"]: row for part in out.glob("*.parquet") for row in pq.read_table(part).to_pylist()}
    assert {name: row["class"] for name, row in answers.items()} == {
        "broken.png": None,
        "dark/70.png": "dark",
        "dark/71.png": "dark",
        "light/70.png": "light",
        "light/71.png": "light",
    }
    assert answers["broken.png"]["error"]
    assert {row["model_version"] for row in answers.values()} == {"squares/1"}


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ("runs/nowhere", "raw", "expected a model directory"),
        ("runs/squares/model", "nowhere", "nowhere"),
    ],
)
def test_predict_names_what_is_not_there(
    ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, source: str, message: str
) -> None:
    monkeypatch.chdir(ran.path)
    with pytest.raises(RequestError, match=message):
        predict_batch(model, Path(source), tmp_path / "answers")
    assert not (tmp_path / "answers").exists()


def test_a_wrong_model_is_a_wrong_request(ran: Any, cvflow: Cvflow) -> None:
    assert (
        "Did you mean 'squares'?"
        in cvflow(ran.path, "predict", "models:/square@champion", "raw", code=2).stderr
    )
    assert not (ran.path / "predictions").exists()


def test_doctor_says_what_is_here(ran: Any, cvflow: Cvflow) -> None:
    findings = {f["what"]: f for f in json.loads(cvflow(ran.path, "doctor", "--json").stdout)}
    assert {"python", "torch", "ray", "mlflow", "dvc", "devices", "disk here", "git", "MLflow store"} <= set(
        findings
    )
    assert findings["project"]["found"] == str(ran.path)
    assert findings["MLflow store"]["found"] == f"sqlite:///{ran.path}/mlflow.db"
    away = cvflow(ran.path, "doctor", code=1, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9").stdout
    line = next(line for line in away.splitlines() if "MLflow store" in line)
    assert line.startswith("!!")
    assert "does not answer" in line
    assert "secret" not in away


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_every_verb_has_an_example(verb: str) -> None:
    assert f"cvflow {verb}" in VERBS[verb].help


@pytest.mark.slow
def test_export_to_onnx(ran: Any, tmp_path: Path, cvflow: Cvflow) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = tmp_path / "squares.onnx"
    done = cvflow(ran.path, "export", "squares", "--out", str(file), "--check", "runs/squares/data", "--json")
    said = json.loads(done.stdout)
    assert (said["path"], said["inputs"], said["outputs"]) == (str(file), ["image"], ["probabilities"])
    assert said["checked"] > 8
    assert said["difference"] < 1e-4
    # LeNet's
    assert onnxruntime.InferenceSession(file).get_inputs()[0].shape[1:] == [1, 32, 32]
    assert (
        "expected a model directory"
        in cvflow(ran.path, "export", "runs/nowhere", "--out", str(tmp_path / "b.onnx"), code=2).stderr
    )


def test_a_verb_that_is_not_there(ran: Any, cvflow: Cvflow) -> None:
    assert "No such command 'trian'" in cvflow(ran.path, "trian", code=2).stderr
    assert "train.epochs" in cvflow(ran.path, "run", "squares", "epochs", code=2).stderr


def test_shell_completion_is_printed_and_knows_the_recipes(ran: Any, cvflow: Cvflow) -> None:
    assert "_CVFLOW_COMPLETE" in cvflow(ran.path, _CVFLOW_COMPLETE="source_bash").stdout
    found = cvflow(
        ran.path, _CVFLOW_COMPLETE="complete_bash", COMP_WORDS="cvflow run squ", COMP_CWORD="2"
    ).stdout
    assert found.split() == ["squares"]
    verbs = cvflow(ran.path, _CVFLOW_COMPLETE="complete_bash", COMP_WORDS="cvflow p", COMP_CWORD="1").stdout
    assert verbs.split() == ["predict", "promote"]


PYTHON = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
import cvflow

overrides = json.loads(sys.argv[1])
outcome = cvflow.run("squares", overrides, quiet=True)
model = cvflow.load("models:/squares@champion")
path = Path("raw/light/03.png")
pixels = np.asarray(Image.open(path))
images = [path, str(path), path.read_bytes(), pixels, np.stack([pixels] * 3, -1)]
images += [Image.open(path), b"no image", "raw/dark/04.png"]
answers = model.predict(images, batch_size=3)
uris = ("squares", "models:/squares/1", "runs/squares/model")
by_name, by_number, by_folder = (cvflow.load(uri).predict([path]) for uri in uris)
try:
    cvflow.run("squares", {"train.epochs": "x"})
except Exception as error:
    wrong = (type(error).__name__, [fault.where for fault in error.faults])
again = [by_name, by_number, by_folder]
print(json.dumps({"outcome": outcome.to_dict(), "classes": model.classes, "answers": answers, "again": again,
                  "wrong": wrong}))
"""


def test_the_python_face(ran: Any, cvflow: Cvflow) -> None:
    overrides = ran.overrides
    done = subprocess.run(
        [sys.executable, "-c", PYTHON, json.dumps(overrides)],
        cwd=ran.path,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["outcome"]["model"], said["outcome"]["version"], said["outcome"]["champion"]) == (
        "squares",
        1,
        True,
    )
    assert said["classes"] == ["dark", "light"]
    *same, broken, dark = said["answers"]
    assert all(
        answer == pytest.approx(same[0]) if isinstance(answer, float) else answer["class"] == "light"
        for answer in same
    )
    assert all(
        answer["probabilities"] == pytest.approx(same[0]["probabilities"], abs=1e-5) for answer in same
    )
    assert list(broken) == ["error"]
    assert dark["class"] == "dark"
    assert said["again"][0] == said["again"][1] == said["again"][2]
    assert said["wrong"] == ["RequestError", ["override train.epochs"]]


def test_loading_executes_nothing_of_the_model_s(ran: Any, tmp_path: Path) -> None:
    """Whatever else lies in the folder is not touched: weights and JSON only."""
    shutil.copytree(ran.path / "runs/squares/model", tmp_path / "model")
    (tmp_path / "model" / "__init__.py").write_text("raise SystemExit('executed')\n")
    (tmp_path / "model" / "model.pkl").write_bytes(b"cos\nsystem\n(S'exit 3'\ntR.")
    assert python_face.load(tmp_path / "model", device="cpu").classes == ("dark", "light")
