"""What changes reruns what, what comes from the cache, and what the registry then holds.

Each test on a copy of the project.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cvflow = Callable[..., subprocess.CompletedProcess[str]]


def ran_stages(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The stages that a command ran, without resolve."""
    started = [
        line.split("'")[1].partition("@")[0]
        for line in done.stdout.splitlines()
        if line.startswith("Running stage")
    ]
    return [stage for stage in started if stage != "resolve"]


def versions(cvflow: Cvflow, project: Path) -> dict[int, list[str]]:
    return {v["version"]: v["aliases"] for v in json.loads(cvflow(project, "models", "--json").stdout)}


def overrides(project: Path) -> list[str]:
    entry = yaml.safe_load((project / "params.yaml").read_text())["runs"]["squares"]
    return [f"{key}={json.dumps(value)}" for key, value in entry["overrides"].items()]


def test_a_worse_training_stays_challenger_and_changing_back_trains_nothing(
    copied: Path, cvflow: Cvflow
) -> None:
    """train and later rerun, prepare does not; the former result comes from the run cache and is
    still registered.
    """
    quick = overrides(copied)
    former = (copied / "runs/squares/model/model.safetensors").read_bytes()
    worse = cvflow(copied, "run", "squares", *quick, "train.epochs=0", "--quiet")
    assert worse.stderr == ""
    assert worse.stdout.startswith("\ntest ")
    assert "models:/squares/2  (challenger: accuracy" in worse.stdout
    assert "is not as good as the champion's 1.0000" in worse.stdout
    assert versions(cvflow, copied) == {2: ["challenger"], 1: ["champion"]}
    back = cvflow(copied, "run", "squares", *quick)
    assert ran_stages(back) == []
    assert [line for line in back.stdout.splitlines() if "is cached - skipping run" in line][0].startswith(
        "Stage 'train@squares'"
    )
    assert "epoch" not in back.stderr
    assert "models:/squares/1  (champion: accuracy 1.0000)" in back.stdout
    assert (copied / "runs/squares/model/model.safetensors").read_bytes() == former
    assert set(versions(cvflow, copied)) == {1, 2}


@pytest.mark.slow
def test_evaluate_s_keys_rerun_evaluate_and_later(copied: Path, cvflow: Cvflow) -> None:
    """The same numbers come out, so that neither the model is registered again nor the predictions
    made again.
    """
    before = (copied / "runs/squares/evaluation/metrics.json").read_bytes()
    done = cvflow(copied, "run", "squares", *overrides(copied), "evaluate.batch_size=5", "train.epochs=6")
    assert ran_stages(done) in (["evaluate", "register"], ["evaluate", "register", "report"])
    assert json.loads(before)["metrics"] == pytest.approx(
        json.loads((copied / "runs/squares/evaluation/metrics.json").read_text())["metrics"], rel=1e-5
    )
    assert versions(cvflow, copied) == {1: ["challenger", "champion"]}


@pytest.mark.slow
def test_where_it_runs_reruns_nothing_but_resolve(copied: Path, cvflow: Cvflow) -> None:
    done = cvflow(copied, "run", "squares", *overrides(copied), "compute.threads=2", "tracking.every=3")
    assert ran_stages(done) == []
    recipe = yaml.safe_load((copied / "runs/squares/recipe.yaml").read_text())
    assert (recipe["compute"]["threads"], recipe["tracking"]["every"]) == (2, 3)


@pytest.mark.slow
def test_a_lost_registry_is_filled_again_from_the_cache(copied: Path, cvflow: Cvflow) -> None:
    (copied / "mlflow.db").unlink()
    shutil.rmtree(copied / "mlartifacts", ignore_errors=True)
    assert cvflow(copied, "models").stdout.startswith("no models yet; type: cvflow run digits")
    done = cvflow(copied, "run", "squares", *overrides(copied))
    assert "the registry lacks this version: registering it again" in done.stderr
    assert not {"prepare", "train", "evaluate"} & set(ran_stages(done))
    assert "epoch" not in done.stderr
    assert versions(cvflow, copied) == {1: ["challenger", "champion"]}
    assert "1" in cvflow(copied, "models").stdout


@pytest.mark.slow
def test_a_second_name_is_a_run_of_its_own_served_from_the_first_s_work(
    copied: Path, cvflow: Cvflow, dvc: Cvflow
) -> None:
    """The same data and recipe under another name: its own stages; the first run is left alone."""
    first = (copied / "runs/squares/registered.json").read_bytes()
    done = cvflow(copied, "run", "squares", *overrides(copied), "train.epochs=0", "--name", "untrained")
    assert "models:/untrained/1" in done.stdout
    runs = yaml.safe_load((copied / "params.yaml").read_text())["runs"]
    assert list(runs) == ["squares", "untrained"]
    assert runs["squares"]["overrides"]["train.epochs"] == 6
    assert (copied / "runs/squares/registered.json").read_bytes() == first
    everything = dvc(copied, "repro")
    assert ran_stages(everything) == []
    assert everything.stdout.count("didn't change, skipping") == 12


@pytest.mark.slow
def test_changed_test_data_measures_the_champion_again(
    copied: Path, cvflow: Cvflow, draw: Callable[..., None], dvc: Cvflow
) -> None:
    """More images: every stage runs, also by hand; the champion is judged on the new test data."""
    draw(copied / "raw", 5, first=40)
    planned = cvflow(copied, "run", "squares", *overrides(copied), "--dry-run").stdout
    assert "prepare   run: raw modified" in planned
    done = dvc(copied, "repro", "report@squares")
    assert ran_stages(done) == ["prepare", "train", "evaluate", "register", "predict", "report"]
    assert "the champion, version 1, is measured again: the test data has changed" in done.stderr
    said: dict[str, Any] = json.loads((copied / "runs/squares/registered.json").read_text())
    assert said["version"] == 2
    assert "the former champion's" in said["reason"]


@pytest.mark.slow
def test_on_other_test_data_the_champion_is_measured_again_and_can_come_back(
    copied: Path, cvflow: Cvflow
) -> None:
    """Another division under the same model name: the champion's new score decides, is shown, kept,
    and not measured twice.
    """
    quick = [*overrides(copied), "data.split.seed=3", "register.model=squares"]
    first = cvflow(copied, "run", "squares", *quick, "--name", "other", "train.epochs=7")
    assert "the champion, version 1, is measured again: the test data has changed" in first.stderr
    said = json.loads((copied / "runs/other/registered.json").read_text())
    assert (said["version"], said["promoted"]) == (2, True)
    assert said["reason"].endswith("1.0000 (version 1, measured again: the test data has changed)")
    second, former = json.loads(cvflow(copied, "models", "squares", "--json").stdout)
    (again,) = [
        json.loads(value) for key, value in former["tags"].items() if key.startswith("cvflow.measured.")
    ]
    assert f"{again['accuracy']:.4f} (version 1" in said["reason"]
    assert second["tags"]["cvflow.decision"] == said["reason"]
    assert "rolled back" not in cvflow(copied, "models", "squares").stdout

    before = json.loads(cvflow(copied, "models", "squares", "--json").stdout)
    dry = cvflow(copied, "promote", "squares", "1", "--dry-run").stdout
    assert dry.splitlines()[0] == "squares version 1 would be champion, in place of version 2"
    assert "the rule says champion: accuracy 1.0000" in dry
    assert "(version 2, measured again" in dry
    assert json.loads(cvflow(copied, "models", "squares", "--json").stdout) == before

    assert (
        cvflow(copied, "promote", "squares", "--rollback").stdout
        == "squares version 1 is champion, in place of version 2\n"
    )
    assert (
        "whose only champion was version 1"
        in cvflow(copied, "promote", "squares", "--rollback", code=2).stderr
    )
    table = cvflow(copied, "models", "squares").stdout
    assert [line.split()[0] for line in table.partition("CHAMPION")[2].splitlines()[1:]] == ["1", "2", "1"]
    third = cvflow(copied, "run", "squares", *quick, "--name", "other", "train.epochs=8")
    assert "is measured again" not in third.stderr.partition("epoch")[2]
    assert (
        "version 1, measured again"
        in json.loads((copied / "runs/other/registered.json").read_text())["reason"]
    )
    card = (copied / "runs/other/card.md").read_text()
    assert "| dark | 1.0000 | 1.0000 | 1.0000 |" in card
    assert "register.notes" in card
    assert "epochs: 8" in card
