"""A real MLflow server that is absent, killed or stopped while a run goes on: every point arrives,
and once.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cvflow.engine.history import read_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
CVFLOW = str(Path(sys.executable).parent / "cvflow")
Cvflow = Callable[..., subprocess.CompletedProcess[str]]


class Server:
    """``mlflow server`` on a SQLite file, to be ended as roughly as one likes and started again."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.root, self.process = root, None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        store = [
            "--backend-store-uri",
            f"sqlite:///{self.root}/server.db",
            "--artifacts-destination",
            str(self.root / "artifacts"),
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process: Any = subprocess.Popen(
            [*command, *store], start_new_session=True, cwd=self.root, **quiet
        )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.3)
        raise TimeoutError("no MLflow server")

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(30)
        self.process = None

    def rows(self, key: str) -> list[int]:
        """The steps of a metric's rows, one each."""
        with sqlite3.connect(self.root / "server.db") as database:
            return [
                step
                for (step,) in database.execute(
                    "SELECT step FROM metrics WHERE key = ? ORDER BY step", (key,)
                )
            ]

    def runs(self) -> dict[str, list[int]]:
        """Each nested run's name, and the steps of its losses."""
        query = """
            SELECT r.name, m.step FROM runs r
            JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'mlflow.parentRunId'
            LEFT JOIN metrics m ON m.run_uuid = r.run_uuid AND m.key = 'loss' ORDER BY r.name, m.step
        """
        found: dict[str, list[int]] = {}
        with sqlite3.connect(self.root / "server.db") as database:
            for name, step in database.execute(query):
                found.setdefault(name, []).append(step)
        return found


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    if found.process is not None:
        found.signal(signal.SIGCONT)
        found.kill()


def steps(project: Path) -> list[int]:
    return [p.step for _, p in read_history(project / "runs/mine/history.jsonl") if "epoch" not in p.metrics]


def test_absent_until_the_training_is_over(noting: Path, server: Server, cvflow: Cvflow) -> None:
    failed = cvflow(noting, "run", "mine.yaml", code=1, MLFLOW_TRACKING_URI=server.uri)
    assert failed.stderr.count("the training goes on, its points are sent later") == 1
    assert "epoch   4" in failed.stderr
    assert failed.stderr.splitlines()[-1] == "cvflow: stage register failed"
    assert "Traceback" not in failed.stderr
    server.start()
    done = cvflow(noting, "run", "mine.yaml", MLFLOW_TRACKING_URI=server.uri)
    assert "Stage 'train@mine' didn't change, skipping" in done.stdout
    assert server.rows("loss") == steps(noting) == list(range(1, 49))


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_away_in_the_middle(noting: Path, server: Server, how: str) -> None:
    """Killed, or stopped as by a machine that hangs; back before the training ends, which takes some 15 s."""
    server.start()
    variables = os.environ | {
        "MLFLOW_TRACKING_URI": server.uri,
        "STEPS": str(noting / "steps"),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    }
    log = noting / "log.txt"
    with log.open("w") as out:
        run = subprocess.Popen(
            [CVFLOW, "run", "mine.yaml", "train.epochs=12"], cwd=noting, stdout=out, stderr=out, env=variables
        )
    until = time.monotonic() + 120
    while not (server.root / "server.db").exists() or not server.rows("loss"):
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    before = len(server.rows("loss"))
    if how == "killed":
        server.kill()
        time.sleep(4)
        server.start()
    else:
        server.signal(signal.SIGSTOP)
        time.sleep(8)
        server.signal(signal.SIGCONT)
    assert run.wait(240) == 0, log.read_text()
    assert 0 < before < 144, "the server was away in the middle"
    assert server.rows("loss") == steps(noting) == list(range(1, 145))
    assert len(re.findall("the training goes on, its points are sent later", log.read_text())) <= 1
    with sqlite3.connect(server.root / "server.db") as database:
        assert [status for (status,) in database.execute("SELECT status FROM runs")] == ["FINISHED"]


def test_gone_at_the_end(noting: Path, server: Server, cvflow: Cvflow) -> None:
    """There from the start to the last epoch: the training ends well, and the same command sends
    what MLflow lacks, once.
    """
    server.start()
    variables = os.environ | {
        "MLFLOW_TRACKING_URI": server.uri,
        "STEPS": str(noting / "steps"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    log = noting / "log.txt"
    with log.open("w") as out:
        run = subprocess.Popen(
            [CVFLOW, "run", "mine.yaml", "train.epochs=12"], cwd=noting, stdout=out, stderr=out, env=variables
        )
    until = time.monotonic() + 120
    while not (noting / "steps").exists() or len((noting / "steps").read_text().split()) < 133:
        assert run.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    server.kill()
    assert run.wait(240) == 1, log.read_text()
    said = log.read_text()
    assert "epoch  12" in said
    assert said.splitlines()[-1] == "cvflow: stage register failed"
    assert "Traceback" not in said
    assert 0 < len(server.rows("loss")) < 144, "the server was away at the end"
    server.start()
    done = cvflow(noting, "run", "mine.yaml", "train.epochs=12", MLFLOW_TRACKING_URI=server.uri)
    assert "Stage 'train@mine' didn't change, skipping" in done.stdout
    assert server.rows("loss") == steps(noting) == list(range(1, 145))
    with sqlite3.connect(server.root / "server.db") as database:
        assert [status for (status,) in database.execute("SELECT status FROM runs")] == ["FINISHED"]


SEARCH = (
    "tune",
    "mine.yaml",
    "seed=grid(1,2,3,4)",
    "train.epochs=2",
    "search.algorithm=grid",
    "search.concurrency=1",
)


@pytest.mark.ray
def test_away_in_the_middle_of_a_search(noting: Path, server: Server, cvflow: Cvflow) -> None:
    """From the second trial on, and at the end: the search ends well, the same command sends what
    MLflow lacks, and once.
    """
    server.start()
    variables = os.environ | {
        "MLFLOW_TRACKING_URI": server.uri,
        "STEPS": str(noting / "steps"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    log = noting / "log.txt"
    with log.open("w") as out:
        search = subprocess.Popen([CVFLOW, *SEARCH], cwd=noting, stdout=out, stderr=out, env=variables)
    until = time.monotonic() + 180
    while not (server.root / "server.db").exists() or len(server.runs().get("trial 0", ())) < 24:
        assert search.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    server.kill()
    assert search.wait(240) == 0, log.read_text()
    said = log.read_text()
    assert said.count("MLflow lacks trials of this search; they are sent later") == 1
    assert "4 of 4 trials have a score" in said
    server.start()
    assert len(server.runs()) < 4, "the server was away in the middle"
    again = cvflow(noting, *SEARCH, MLFLOW_TRACKING_URI=server.uri)
    assert "MLflow lacks trials of this search: sending them" in again.stderr
    assert server.runs() == {f"trial {number}": list(range(1, 25)) for number in range(4)}
    with sqlite3.connect(server.root / "server.db") as database:
        assert [status for (status,) in database.execute("SELECT status FROM runs")] == ["FINISHED"] * 5, (
            "the search, and a run a trial"
        )
    once_more = cvflow(noting, *SEARCH, MLFLOW_TRACKING_URI=server.uri)
    assert "sending them" not in once_more.stderr
