"""``cvflow run`` from raw images to the report, and again with nothing changed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from cvflow.project.graph import STAGES, dvc_yaml

QUICK = (
    "train.epochs=6",
    "train.batch_size=8",
    "train.warmup_epochs=0",
    "train.augment=[]",
    "train.optimizer.lr=0.02",
    "model.backbone=lenet",
    "data.split.test=0.4",
    "compute.threads=1",
)
Cvflow = Callable[..., subprocess.CompletedProcess[str]]


def skipped(text: str) -> list[str]:
    return [
        line.split("'")[1].removesuffix("@squares")
        for line in text.splitlines()
        if "didn't change, skipping" in line
    ]


def files(root: Path) -> dict[str, int]:
    """path -> time of change of each file that matters."""
    paths = [
        p
        for p in root.rglob("*")
        if p.is_file() and not {".cvflow", ".dvc", ".git"} & set(p.relative_to(root).parts)
    ]
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in paths}


def test_new_says_what_it_saw(ran: Any) -> None:
    assert (
        "31 images, 2 classes (dark, light), grey, read as image_folder; 1 of 31 looked at unreadable"
        in ran.new.stdout
    )
    assert "wrote pipelines/squares.yaml; now type: cvflow run squares" in ran.new.stdout


def test_the_last_lines_say_where_everything_is(ran: Any) -> None:
    lines = ran.run.stdout.strip().splitlines()[-6:]
    assert lines[0].startswith("test         accuracy 1.0000")
    assert lines[1] == "model        models:/squares/1  (champion: accuracy 1.0000)"
    assert [line.split()[-1] for line in lines[2:5]] == [
        "runs/squares/model",
        "runs/squares/predictions",
        "runs/squares/report.html",
    ]
    # cvflow is not on the PATH here
    assert lines[5] == f"MLflow UI    {ran.run.args[0]} ui"
    for line in lines[2:5]:
        assert (ran.path / line.split()[-1]).exists()
    assert "epoch   6" in ran.run.stderr


def test_every_stage_left_its_outputs(ran: Any) -> None:
    root = ran.path / "runs" / "squares"
    for stage in STAGES:
        for out in stage.outs:
            assert (root / out).exists(), out
    lock = yaml.safe_load((ran.path / "dvc.lock").read_text())["stages"]
    assert list(lock) == [f"{name}@squares" for name in ("resolve", *(s.name for s in STAGES))]
    (part,) = (root / "predictions").glob("*.parquet")
    table = pq.read_table(part)
    assert {"id", "class", "probabilities", "model_version", "data_hash"} <= set(table.column_names)
    assert set(table["model_version"].to_pylist()) == {"squares/1"}
    measured = json.loads((root / "evaluation" / "metrics.json").read_text())
    assert set(table["data_hash"].to_pylist()) == {measured["data_digest"]}
    assert len(table) == json.loads((root / "validation.json").read_text())["counts"]["test"]
    assert not list((ran.path / ".cvflow").glob("train/*/checkpoints/*")), (
        "a finished training leaves no checkpoints"
    )


def test_unreadable_and_foreign_files_are_named_and_left_out(ran: Any) -> None:
    validation = json.loads((ran.path / "runs/squares/validation.json").read_text())
    found = {f["file"]: f["action"] for f in validation["findings"] if f["topic"] != "tiny class"}
    assert found == {"dark/90.png": "left out", "light/notes.txt": "skipped"}
    assert sum(validation["counts"].values()) == 30
    assert "dark/90.png" in ran.run.stderr
    assert "dark/90.png" in (ran.path / "runs/squares/report.html").read_text()


def test_the_pipeline_is_generic_and_the_run_is_an_entry(ran: Any) -> None:
    assert (ran.path / "dvc.yaml").read_text() == dvc_yaml()
    entry = yaml.safe_load((ran.path / "params.yaml").read_text())["runs"]["squares"]
    assert entry["recipe"] == "pipelines/squares.yaml"
    assert entry["source"] == "raw"
    assert entry["overrides"] == {
        key: yaml.safe_load(value) for key, value in (item.split("=") for item in QUICK)
    }
    recipe = yaml.safe_load((ran.path / "runs/squares/recipe.yaml").read_text())
    assert recipe["model"]["backbone"] == {"name": "lenet", "activation": "relu", "pool": "max"}
    assert recipe["train"]["epochs"] == 6


def test_a_second_run_skips_everything_and_says_so(ran: Any, cvflow: Cvflow) -> None:
    before = files(ran.path)
    again = cvflow(ran.path, "run", "squares", *QUICK)
    assert skipped(again.stdout) == [stage.name for stage in STAGES]
    assert "epoch" not in again.stderr
    assert again.stdout.splitlines()[-6:] == ran.run.stdout.splitlines()[-6:]
    after = files(ran.path)
    allowed = {"dvc.lock", "runs/squares/recipe.yaml"}
    assert {name for name in {**before, **after} if before.get(name) != after.get(name)} <= allowed


@pytest.mark.parametrize("target", [(), ("report@squares",)])
def test_dvc_repro_by_hand_does_the_same_work_and_nothing_more(
    ran: Any, dvc: Cvflow, target: tuple[str, ...]
) -> None:
    again = dvc(ran.path, "repro", *target)
    assert skipped(again.stdout) == [stage.name for stage in STAGES]


def test_json_is_all_that_is_on_standard_output(ran: Any, cvflow: Cvflow) -> None:
    done = cvflow(ran.path, "run", "squares", *QUICK, "--json")
    said = json.loads(done.stdout)
    assert said["metrics"]["accuracy"] == 1.0
    assert (said["model"], said["version"], said["champion"], said["run"]) == ("squares", 1, True, "squares")
    assert (ran.path / said["report"]).is_file()
    assert "skipping" in done.stderr


def test_quiet_and_verbose(ran: Any, cvflow: Cvflow) -> None:
    quiet = cvflow(ran.path, "run", "squares", *QUICK, "-q")
    assert quiet.stdout.strip().splitlines() == ran.run.stdout.strip().splitlines()[-6:]
    assert quiet.stderr == ""
    verbose = cvflow(ran.path, "run", "squares", *QUICK, "-v")
    assert "command: " in verbose.stdout + verbose.stderr


def test_dry_run_says_what_would_run_and_writes_nothing(ran: Any, cvflow: Cvflow) -> None:
    before = files(ran.path)
    same = cvflow(ran.path, "run", "squares", *QUICK, "--dry-run").stdout
    assert same.count("up to date") == len(STAGES)
    changed = json.loads(
        cvflow(
            ran.path,
            "run",
            "squares",
            *QUICK,
            "train.epochs=9",
            "evaluate.batch_size=7",
            "--dry-run",
            "--json",
        ).stdout
    )
    why = {step["stage"]: step["why"] for step in changed}
    assert why["prepare"] == ""
    assert why["train"] == "train.epochs"
    assert why["evaluate"] == "evaluate.batch_size, after train"
    other = cvflow(ran.path, "run", "squares", *QUICK, "--name", "other", "--dry-run").stdout
    assert other.count("never ran") == len(STAGES)
    assert files(ran.path) == before


def test_the_run_is_in_mlflow_with_its_data_and_revision(ran: Any) -> None:
    with sqlite3.connect(ran.path / "mlflow.db") as database:
        tags = dict(database.execute("SELECT key, value FROM tags WHERE key LIKE 'cvflow.%'"))
        (digest,) = database.execute("SELECT digest FROM datasets").fetchone()
        statuses = [status for (status,) in database.execute("SELECT status FROM runs")]
    assert statuses == ["FINISHED"]
    assert tags["cvflow.run"] == "squares"
    assert tags["cvflow.data_digest"] == digest
    assert len(tags["cvflow.git_revision"].removesuffix("-dirty")) == 40
    lock = yaml.safe_load((ran.path / "dvc.lock").read_text())["stages"]["prepare@squares"]["outs"]
    assert lock[0]["md5"] == digest, "MLflow's digest of the data is DVC's"


def test_the_project_below_a_git_root_is_a_dvc_project_of_its_own(ran: Any, dvc: Cvflow) -> None:
    assert not (ran.path.parent / ".dvc").exists()
    assert (
        "Data and pipelines are up to date"
        in dvc(ran.path, "status", "prepare@squares", "train@squares").stdout
    )
    assert "no_scm" not in (ran.path / ".dvc" / "config").read_text()
