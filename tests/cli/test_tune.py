"""``cvflow tune`` as a user has it: refused requests, a search that is killed and goes on, nothing run twice, the best registered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

Cvflow = Callable[..., subprocess.CompletedProcess[str]]
CVFLOW = str(Path(sys.executable).parent / "cvflow")
QUICK = (
    "train.epochs=2", "train.warmup_epochs=0", "train.augment=[]", "image.size=[8,8]", "data.split.test=0.6", "compute.threads=1",
    "compute.device=cpu", "register.promote.threshold=0",
)  # fmt: skip
SPACE = ("train.optimizer.lr=loguniform(1e-3,1)", "train.optimizer.momentum=choice(0,0.9)")
SEARCH = ("tune", "digits", *SPACE, *QUICK, "search.algorithm={name: evolution, population: 3}", "search.concurrency=2", "--samples", "7")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "search.space: got nothing, expected at least one key"),
        (("seed=int(1,9)", "train.epochs=grid(1,2,3)", "--algorithm", "grid", "--samples", "5"), "Type --samples 9"),
        (("seed=int(1,9)", "search.metric=macro_f2"), "search.metric: got 'macro_f2'"),
    ],
)
def test_a_wrong_search_is_refused_before_anything_is_written(
    project: Path, cvflow: Cvflow, arguments: tuple[str, ...], said: str
) -> None:  # fmt: skip
    assert said in cvflow(project, "tune", "digits", *arguments, code=2).stderr
    assert not (project / "params.yaml").exists()
    assert not (project / "dvc.yaml").exists()


def trials(path: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((path / "runs/digits-search/search/trials.json").read_text())["trials"]
    return sorted(content, key=lambda trial: trial["number"])


def journal(path: Path) -> list[dict[str, Any]]:
    """The entries; a line that is being written is left out."""
    files = list(path.glob(".cvflow/tune/*/journal.jsonl"))
    return [json.loads(line) for line in files[0].read_text().splitlines(keepends=True) if line.endswith("\n")] if files else []


def kill_after(path: Path, entries: int) -> None:
    """Start the search, and kill -9 all of it once the journal has so many entries more."""
    before = len(journal(path))
    search = subprocess.Popen([CVFLOW, *SEARCH], cwd=path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(journal(path)) < before + entries:
        assert search.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.killpg(search.pid, signal.SIGKILL)
    search.wait()
    time.sleep(2)  # Ray's processes notice that their driver is gone


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cvflow: Cvflow) -> Path:
    """A project with the unbroken search. Only to be looked at."""
    path = tmp_path_factory.mktemp("whole")
    cvflow(path, *SEARCH)
    return path


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_killed_twice_suggests_what_an_unbroken_one_does_and_runs_nothing_twice(
    project: Path, whole: Path, cvflow: Cvflow
) -> None:  # fmt: skip
    kill_after(project, 3)
    kill_after(project, 5)
    cvflow(project, *SEARCH)
    assert [t["params"] for t in trials(project)] == [t["params"] for t in trials(whole)]
    assert [t["score"] for t in trials(project)] == [t["score"] for t in trials(whole)]
    ends = [entry["trial"] for entry in journal(project) if entry["event"] == "ended"]
    assert sorted(ends) == list(range(7))
    assert runs(project) == runs(whole) == (7 + 1, 7, ["0"] * 3 + ["1"] * 3 + ["2"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_unchanged_nothing_is_run_and_with_more_samples_it_goes_on_and_the_best_is_registered(
    whole: Path, tmp_path: Path, cvflow: Cvflow
) -> None:  # fmt: skip
    path = tmp_path / "copy"
    shutil.copytree(whole, path, symlinks=True)
    again = cvflow(path, *SEARCH)
    assert "Running stage 'tune@digits-search'" not in again.stdout + again.stderr
    more = cvflow(path, *SEARCH[:-1], "9", "--register", "--json")
    assert [t["params"] for t in trials(path)[:7]] == [t["params"] for t in trials(whole)]
    found = json.loads(more.stdout)
    assert len(found["trials"]) == 9
    assert found["registered"]["model"] == "digits"
    best = yaml.safe_load((path / "runs/digits-best/recipe.yaml").read_text())
    assert best["train"]["optimizer"]["lr"] == found["trials"][0]["params"]["train.optimizer.lr"]
    counts = [json.loads((path / f"runs/digits-{name}/data/dataset.json").read_text())["counts"] for name in ("search", "best")]
    assert counts[1] == {"train": counts[0]["train"] + counts[0]["val"], "val": 0, "test": counts[0]["test"]}


def runs(path: Path) -> tuple[int, int, list[str]]:
    """MLflow runs in all, those nested in another, and the generations that they are tagged with."""
    with closing(sqlite3.connect(path / "mlflow.db")) as connection:
        (all_runs,) = connection.execute("SELECT COUNT(*) FROM runs").fetchone()
        (nested,) = connection.execute("SELECT COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId'").fetchone()
        tagged = connection.execute("SELECT value FROM tags WHERE key = 'cvflow.generation' ORDER BY value").fetchall()
    return all_runs, nested, [value for (value,) in tagged]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_leaves_a_usable_result(project: Path) -> None:
    search = subprocess.Popen([CVFLOW, *SEARCH], cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while sum(entry["event"] == "ended" for entry in journal(project)) < 2:
        assert search.poll() is None
        time.sleep(0.1)
    for process in [*children(search.pid), search.pid]:  # a terminal sends it to all of them
        os.kill(process, signal.SIGINT)
    stdout, stderr = search.communicate(timeout=120)
    assert search.returncode == 130, stderr
    assert "of 7 trials have a score" in stdout
    assert yaml.safe_load((project / "runs/digits-search/search/best.yaml").read_text())["extends"].endswith("digits.yaml")


def children(pid: int) -> list[int]:
    """The processes that a command started which run cvflow."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True) if "cvflow" in " ".join(child.cmdline()[:3])]
