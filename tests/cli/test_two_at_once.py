"""Two processes in one project: different runs both finish; the same run waits and says for whom,
as for DVC's own locks.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvflow.errors import CvflowError
from cvflow.project.project import locked
from cvflow.runtime import dvc

CVFLOW = str(Path(sys.executable).parent / "cvflow")
RUN = (CVFLOW, "run", "mine.yaml", "train.epochs=2", "train.batch_size=6")

HOLDER = """
import fcntl, os, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(f" {os.getpid()}", file=file, flush=True)
    print("held", flush=True)
    time.sleep(60)
"""


def start(project: Path, *command: str) -> subprocess.Popen[str]:
    slow = os.environ | {"STEPS": str(project / "steps.txt"), "PATH": f"{Path(CVFLOW).parent}:/usr/bin:/bin"}
    return subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=slow
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, out + err
    return out, err


def wait_for_training(project: Path) -> None:
    until = time.monotonic() + 120
    while not (project / "steps.txt").exists():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_different_runs_both_finish(noting: Path) -> None:
    one, two = start(noting, *RUN), start(noting, *RUN, "--name", "other", "seed=1")
    for process in (one, two):
        out, err = finish(process)
        assert "at work on run" not in err, err
        assert "model        models:/" in out
    assert sorted(yaml.safe_load((noting / "params.yaml").read_text())["runs"]) == ["mine", "other"]
    lock = yaml.safe_load((noting / "dvc.lock").read_text())["stages"]
    assert {f"{stage}@{run}" for stage in ("resolve", "train", "report") for run in ("mine", "other")} <= set(
        lock
    )


@pytest.mark.slow
def test_the_same_run_waits_and_says_for_whom(noting: Path) -> None:
    one = start(noting, *RUN)
    wait_for_training(noting)
    two, by_hand = start(noting, *RUN), start(noting, sys.executable, "-m", "dvc", "repro", "train@mine")
    finish(one)
    out, err = finish(two)
    assert re.search(
        rf"^waiting for process {one.pid}, which has been at work on run mine since \d\d:\d\d on \d\d \w+$",
        err,
        re.M,
    ), err
    assert out.count("didn't change, skipping") == 6
    # DVC by itself does not wait
    assert f"(PID {one.pid})" in finish(by_hand, code=255)[1]


@pytest.mark.slow
def test_a_stage_that_dvc_repro_runs_by_hand_is_waited_for(noting: Path, cvflow: Callable[..., Any]) -> None:
    # the project is there; only the training changes
    cvflow(noting, *RUN[1:3], "train.epochs=0")
    entry = yaml.safe_load((noting / "params.yaml").read_text())
    entry["runs"]["mine"]["overrides"] = {"train.epochs": 2, "train.batch_size": 6}
    (noting / "params.yaml").write_text(yaml.safe_dump(entry))
    by_hand = start(noting, sys.executable, "-m", "dvc", "repro", "train@mine")
    wait_for_training(noting)
    out, err = finish(start(noting, *RUN))
    finish(by_hand)
    assert re.search(rf"^waiting for process {by_hand.pid} \(.*repro train@mine\)$", err, re.M), err
    assert "Stage 'train@mine' didn't change, skipping" in out


def test_a_lock_says_who_holds_it(project: Path) -> None:
    code = "from cvflow.project.project import locked\nwith locked('x', 'knitting'): print('in')"
    with locked("x", "training run digits"):
        other = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert other.stderr is not None
        said = other.stderr.readline()
        assert re.fullmatch(
            rf"waiting for process {os.getpid()}, which has been training run digits since .*\n", said
        )
        assert other.poll() is None
    assert other.communicate(timeout=60)[0] == "in\n"
    assert "knitting" in Path(".cvflow/x.lock").read_text()


@pytest.mark.filterwarnings("ignore")  # DVC's own
def test_dvc_s_lock_is_waited_for_a_while(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dvc.initialise()
    (project / "dvc.yaml").write_text("stages: {a: {cmd: echo done > a, outs: [a]}}\n")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(dvc.LOCK)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(
            CvflowError, match=rf"Waited .* for process {holder.pid} \(.*\), which holds DVC's lock"
        ):
            dvc.repro(["a"], patience=1.5)
        said = capsys.readouterr().err
        assert said.count("waiting for ") == 1
    finally:
        holder.kill()
        holder.wait()
    assert dvc.repro(["a"]) == 0
    assert (project / "a").read_text() == "done\n"
    with dvc.LOCK.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing holds it any more


@pytest.mark.filterwarnings("ignore")  # DVC's own
def test_files_at_work_are_waited_for(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DVC notes who reads and writes what; an entry of a process that lives is respected."""
    dvc.initialise()
    (project / "dvc.yaml").write_text("stages: {a: {cmd: echo done > a, outs: [a]}}\n")
    note = {"write": {str(project / "a"): {"pid": os.getppid(), "cmd": "repro by hand"}}, "read": {}}
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(note))
    dvc.drop_cut_note()
    with pytest.raises(CvflowError, match=rf"for process {os.getppid()} \(repro by hand\)"):
        dvc.repro(["a"], patience=1.5)
    assert "ERROR" not in capsys.readouterr().err
    assert not (project / "a").exists()
    # cut by a kill while DVC wrote it
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(note)[:-3])
    code = "from cvflow.runtime import dvc\nraise SystemExit(dvc.repro(['a']))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (project / "a").exists()
