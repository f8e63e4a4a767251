"""``cvflow tune`` as a user has it: refused requests, what it prints and leaves, nothing run twice,
the best registered.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

Cvflow = Callable[..., subprocess.CompletedProcess[str]]
CVFLOW = str(Path(sys.executable).parent / "cvflow")
QUICK = (
    "train.epochs=2",
    "train.warmup_epochs=0",
    "train.augment=[]",
    "image.size=[8,8]",
    "data.split.test=0.6",
    "compute.threads=1",
    "compute.device=cpu",
    "register.promote.threshold=0",
)
SPACE = ("train.optimizer.lr=loguniform(1e-3,1)", "train.optimizer.momentum=choice(0,0.9)")
SEARCH = (
    "tune",
    "digits",
    *SPACE,
    *QUICK,
    "search.algorithm={name: evolution, population: 3}",
    "search.concurrency=2",
    "--samples",
    "7",
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "search.space: got nothing, expected at least one key"),
        (
            ("seed=int(1,9)", "train.epochs=grid(1,2,3)", "--algorithm", "grid", "--samples", "5"),
            "Type --samples 9",
        ),
        (("seed=int(1,9)", "search.metric=macro_f2"), "search.metric: got 'macro_f2'"),
        (("image.size=grid([8,8],[2,2])",), "search.space.image.size"),
        (
            ("seed=int(1,9)", "search.algorithm.population=4", "--algorithm", "tpe"),
            "got the unknown key 'population'",
        ),
        (("seed=int(1,9)", "data.split.train_on_val=true"), "Type data.split.train_on_val=false."),
    ],
)
def test_a_wrong_search_is_refused_before_anything_is_written(
    project: Path, cvflow: Cvflow, arguments: tuple[str, ...], said: str
) -> None:
    assert said in cvflow(project, "tune", "digits", *arguments, code=2).stderr
    assert not (project / "params.yaml").exists()
    assert not (project / "dvc.yaml").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cvflow: Cvflow) -> Path:
    """A project with a search, and what it said in ``said.txt``. Only to be looked at."""
    path = tmp_path_factory.mktemp("whole")
    (path / "said.txt").write_text(cvflow(path, *SEARCH).stdout)
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_ranking_is_printed_and_each_trial_is_a_nested_run_with_its_tags(
    whole: Path, search_in: Any
) -> None:
    check_ranking((whole / "said.txt").read_text(), search_in(whole).trials())
    assert search_in(whole).runs() == (7 + 1, 7, ["0"] * 3 + ["1"] * 3 + ["2"], ["evolution"] * 7)


def check_ranking(said: str, found: list[dict[str, Any]]) -> None:
    """What ``cvflow tune`` prints: a row a trial, best first."""
    lines = said.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("RANK"))
    assert lines[first].split() == ["RANK", "TRIAL", "VAL_ACCURACY", "EPOCHS", "STATE", *found[0]["params"]]
    order = sorted(found, key=lambda trial: (-trial["score"], trial["number"]))
    expected = [
        [
            str(rank),
            str(t["number"]),
            f"{t['score']:.4f}",
            "2",
            "done",
            *(f"{value:.4g}" for value in t["params"].values()),
        ]
        for rank, t in enumerate(order, 1)
    ]
    assert [line.split() for line in lines[first + 1 : first + 1 + len(found)]] == expected
    assert len({trial["score"] for trial in found}) > 1
    assert "7 of 7 trials have a score, 0 failed" in lines


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_unchanged_nothing_is_run_and_with_more_samples_it_goes_on_and_the_best_is_registered(
    whole: Path, tmp_path: Path, cvflow: Cvflow, search_in: Any
) -> None:
    path = tmp_path / "copy"
    shutil.copytree(whole, path, symlinks=True)
    again = cvflow(path, *SEARCH)
    assert "Running stage 'tune@digits-search'" not in again.stdout + again.stderr
    more = cvflow(path, *SEARCH[:-1], "9", "--register", "--json")
    assert [t["params"] for t in search_in(path).trials()[:7]] == [
        t["params"] for t in search_in(whole).trials()
    ]
    found = json.loads(more.stdout)
    assert len(found["trials"]) == 9
    assert found["registered"]["model"] == "digits"
    best = yaml.safe_load((path / "runs/digits-best/recipe.yaml").read_text())
    assert best["train"]["optimizer"]["lr"] == found["trials"][0]["params"]["train.optimizer.lr"]
    counts = [
        json.loads((path / f"runs/digits-{name}/data/dataset.json").read_text())["counts"]
        for name in ("search", "best")
    ]
    assert counts[1] == {"train": counts[0]["train"] + counts[0]["val"], "val": 0, "test": counts[0]["test"]}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_leaves_a_usable_result(project: Path, search_in: Any) -> None:
    search = subprocess.Popen(
        [CVFLOW, *SEARCH], cwd=project, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while len(search_in(project).ended()) < 2:
        assert search.poll() is None
        time.sleep(0.1)
    # a terminal sends it to all of them
    for process in [*children(search.pid), search.pid]:
        os.kill(process, signal.SIGINT)
    stdout, stderr = search.communicate(timeout=120)
    assert search.returncode == 130, stderr
    assert "of 7 trials have a score" in stdout
    assert yaml.safe_load((project / "runs/digits-search/search/best.yaml").read_text())["extends"].endswith(
        "digits.yaml"
    )


def children(pid: int) -> list[int]:
    """The processes that a command started which run cvflow."""
    return [
        child.pid
        for child in psutil.Process(pid).children(recursive=True)
        if "cvflow" in " ".join(child.cmdline()[:3])
    ]
