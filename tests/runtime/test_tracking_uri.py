"""Where the store is, and how it is made: by many at once, or killed at it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvflow.runtime.tracking import open_run
from cvflow.runtime.tracking_uri import tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


def test_the_uri_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    for given, uri in {
        "sqlite:///x.db": f"sqlite:///{tmp_path}/x.db",
        "http://host:5000": "http://host:5000",
    }.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
        assert tracking_uri() == uri


def test_two_processes_at_once_make_one_store_and_one_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code = (
        "import sys; from cvflow.runtime.tracking import open_run; "
        f"sys.stdout.write(open_run('x', '{'a' * 32}', 'n'))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in "ab"
    ]
    said = [child.communicate(timeout=120) for child in children]
    assert said[0] == said[1]
    assert len(said[0][0]) == 32
    assert said[0][1] == ""  # none of MLflow's and Alembic's own lines


def test_a_kill_in_the_first_seconds_leaves_no_broken_store(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    child = subprocess.Popen(
        [sys.executable, "-c", "from cvflow.runtime.tracking_uri import connect; connect()"]
    )
    half = project / "mlflow.db.new"
    while not (half.exists() and half.stat().st_size) and child.poll() is None:
        time.sleep(0.01)
    # some of the tables are there: MLflow alone does not recover from this
    time.sleep(0.1)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert open_run("x", "a" * 32, "n")
    assert not half.exists()


def test_importing_costs_nothing() -> None:
    code = (
        "import cvflow.runtime.tracking, cvflow.runtime.model_registry, "
        "sys; print({'mlflow', 'torch', 'pandas'} & {*sys.modules})"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
