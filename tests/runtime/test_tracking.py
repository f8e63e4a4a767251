"""Tracking on a real MLflow store: one run for a fingerprint, each point once, whatever is killed or away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvflow.errors import CvflowError, RequestError
from cvflow.runtime import tracking
from cvflow.runtime.metrics_tail import Tail
from cvflow.runtime.tracking import describe_run, find_run, finish_run, log_files, log_results, open_run
from cvflow.runtime.tracking_uri import connect

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
DIGEST = "0123456789abcdef0123456789abcdef.dir"
NOWHERE = "http://someone:secret@127.0.0.1:9"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store of its own, current for the module; a space in its path, as users have."""
    folder = tmp_path_factory.mktemp("tracking") / "a project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def write(history: Path, steps: range) -> None:
    with history.open("a") as file:
        for step in steps:
            file.write(
                json.dumps(
                    {"step": step, "time": 1e9 + step / 8, "metrics": {"loss": 1 / (step + 1), "lr": 0.1}}
                )
                + "\n"
            )


def logged(run_id: str, key: str = "loss") -> list[tuple[int, float]]:
    """(step, value) of each stored row."""
    return sorted((m.step, m.value) for m in connect().get_metric_history(run_id, key))


def expected(count: int) -> list[tuple[int, float]]:
    return [(step, 1 / (step + 1)) for step in range(count)]


def test_a_fingerprint_has_one_run(store: Path) -> None:
    first = open_run("one", "a" * 32, "digits")
    assert open_run("one", "a" * 32, "another name") == first == find_run("one", "a" * 32)
    assert open_run("one", "b" * 32, "digits") != first
    assert open_run("two", "a" * 32, "digits") != first
    connect().delete_run(first)
    assert find_run("one", "a" * 32) is None
    assert open_run("one", "a" * 32, "digits") != first
    assert find_run("no such experiment", "a" * 32) is None


def test_files_lie_beside_the_database(store: Path) -> None:
    run = connect().get_run(open_run("one", "c" * 32, "digits"))
    assert run.info.artifact_uri.startswith((store / "mlartifacts").as_uri())


def test_final_values_are_logged_once_and_those_that_are_none_not_at_all(store: Path) -> None:
    run_id = open_run("one", "d" * 32, "digits")
    for accuracy in (0.5, 0.5, 0.75):
        log_results(run_id, {"test_accuracy": accuracy, "test_tar": float("nan")})
    assert [value for _, value in logged(run_id, "test_accuracy")] == [0.5, 0.75]
    assert connect().get_run(run_id).data.metrics == {"test_accuracy": 0.75}


def test_a_deleted_experiment_is_named(store: Path) -> None:
    open_run("gone", "a" * 32, "digits")
    connect().delete_experiment(connect().get_experiment_by_name("gone").experiment_id)
    assert find_run("gone", "a" * 32) is None
    with pytest.raises(RequestError, match="'gone', which is deleted.*mlflow experiments restore"):
        open_run("gone", "a" * 32, "digits")


def describe(run_id: str, file: Path, **recipe: Any) -> None:
    dataset = ("digits", DIGEST, "data/digits", {"train": 3, "test": 1})
    describe_run(run_id, recipe=recipe, dataset=dataset, tags={"cvflow.git_revision": "abc"}, files=[file])


def test_a_run_is_described_once(store: Path) -> None:
    run_id, file = open_run("described", "a" * 32, "digits"), store / "recipe.yaml"
    file.write_text("workers: 0\n")
    describe(
        run_id,
        file,
        train={"lr": 0.1, "augment": [{"name": "crop"}]},
        size=[16, 16],
        note="x" * 9000,
        compute={"workers": 0},
    )
    file.write_text("workers: 2\n")
    describe(
        run_id,
        file,
        train={"lr": 0.1, "augment": [{"name": "crop"}]},
        size=[16, 16],
        compute={"workers": 2},
        more=None,
    )
    run = connect().get_run(run_id)
    params = run.data.params
    assert len(params.pop("note")) == 6000
    assert params == {
        "train.lr": "0.1",
        "train.augment.0.name": "crop",
        "size": "[16, 16]",
        "compute.workers": "0",
        "more": "null",
    }
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, json.loads(given.dataset.profile)) == (
        "digits",
        DIGEST,
        {"train": 3, "test": 1},
    )
    assert run.data.tags["cvflow.git_revision"] == "abc"
    assert run.data.tags["cvflow.version.python"] == ".".join(map(str, sys.version_info[:3]))
    assert sorted(a.path for a in connect().list_artifacts(run_id)) == ["environment.txt", "recipe.yaml"]
    kept = Path(connect().download_artifacts(run_id, "recipe.yaml", str(store)))
    assert kept.read_text() == "workers: 2\n"
    assert "mlflow==" in tracking.installed()


def test_more_params_than_one_call_takes(store: Path) -> None:
    run_id, file = open_run("described", "b" * 32, "digits"), store / "recipe.yaml"
    file.touch()
    describe(run_id, file, **{f"key{i}": i for i in range(250)}, **{"odd+key": 1})
    assert len(connect().get_run(run_id).data.params) == 251


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_ends(store: Path, status: str) -> None:
    run_id = open_run("ended", "a" * 32, "digits")
    # again, after the status before
    assert connect().get_run(run_id).info.status == "RUNNING"
    finish_run(run_id, status)
    assert connect().get_run(run_id).info.status == status


def test_points_arrive_while_the_body_runs(store: Path) -> None:
    run_id, history = open_run("tail", "a" * 32, "digits"), store / "a.jsonl"
    with Tail(history, run_id, every=0.05):
        write(history, range(3))
        deadline = time.monotonic() + 30
        while len(logged(run_id)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert logged(run_id) == expected(3)
        write(history, range(3, 2500))  # 2 metrics each: several calls
    assert logged(run_id) == expected(2500)
    # milliseconds
    assert connect().get_metric_history(run_id, "lr")[0].timestamp >= 1_000_000_000_000


def test_what_was_sent_is_not_sent_again(store: Path) -> None:
    run_id, history = open_run("tail", "b" * 32, "digits"), store / "b.jsonl"
    write(history, range(5))
    with Tail(history, run_id):
        pass
    # what is read again would be seen
    changed = history.read_text().replace("0.1", "0.2")
    history.write_text(changed)
    write(history, range(5, 8))
    with Tail(history, run_id):
        pass
    assert logged(run_id) == expected(8)
    assert {value for _, value in logged(run_id, "lr")} == {0.1}


def test_exact_repeats_are_one_row(store: Path) -> None:
    run_id, history = open_run("tail", "c" * 32, "digits"), store / "c.jsonl"
    write(history, range(4))
    for more in range(2):
        with Tail(history, run_id):
            write(history, range(4 + more, 5 + more))
        history.with_name("c.jsonl.sent").unlink()
    assert logged(run_id) == expected(6)


def test_a_half_written_line_waits(store: Path) -> None:
    run_id, history = open_run("tail", "d" * 32, "digits"), store / "d.jsonl"
    write(history, range(2))
    line = history.read_text().splitlines(keepends=True)[1]
    history.write_text(history.read_text() + line.replace('"step": 1', '"step": 2')[:-20])
    with Tail(history, run_id):
        pass
    assert [step for step, _ in logged(run_id)] == [0, 1]
    with history.open("a") as file:
        file.write(line[-20:])
    with Tail(history, run_id):
        pass
    assert [step for step, _ in logged(run_id)] == [0, 1, 2]


def test_another_run_gets_all_of_the_same_history(store: Path) -> None:
    history = store / "e.jsonl"
    write(history, range(4))
    for fingerprint in ("e" * 32, "f" * 32):
        run_id = open_run("tail", fingerprint, "digits")
        with Tail(history, run_id):
            pass
        assert logged(run_id) == expected(4)


def test_odd_names_and_values_do_not_block_the_rest(store: Path) -> None:
    run_id, history = open_run("tail", "0" * 32, "digits"), store / "odd.jsonl"
    history.write_text(
        '{"step": 0, "time": 1.0, "metrics": {"ap/red+cell": 1, "loss": NaN, "top": Infinity}}\n'
    )
    write(history, range(1, 3))
    with Tail(history, run_id):
        pass
    assert logged(run_id, "ap/red_cell") == [(0, 1.0)]
    assert [step for step, _ in logged(run_id)] == [0, 1, 2]


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_tracking import write
from cvflow.runtime.metrics_tail import Tail
history = Path(sys.argv[1])
with Tail(history, sys.argv[2], every=0.0):
    for step in range(100_000):
        write(history, range(step, step + 1))
        time.sleep(0.001)
"""


@pytest.mark.parametrize("after", [1, 60])
def test_kill_9_loses_and_doubles_nothing(store: Path, after: int) -> None:
    """after: how many points are in the store when the child is killed."""
    run_id, history = open_run("kill", f"{after:032d}", "digits"), store / f"kill{after}.jsonl"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(history), run_id, str(Path(__file__).parent)])
    deadline = time.monotonic() + 60
    while len(logged(run_id)) < after and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    written = history.read_bytes().count(b"\n")
    assert written >= len(logged(run_id)) >= after
    with Tail(history, run_id):
        write(history, range(written, written + 5))
    assert logged(run_id) == expected(written + 5)


def test_a_page_logged_again_is_replaced(store: Path, tmp_path: Path) -> None:
    run_id = open_run("pages", "d" * 32, "digits")
    for text in ("first", "second"):
        log_files(run_id, {"report.html": text, "plots/loss.html": text + " loss"})
    client = connect()
    assert [file.path for file in client.list_artifacts(run_id)] == ["plots", "report.html"]
    got = Path(client.download_artifacts(run_id, "", str(tmp_path)))
    assert ((got / "report.html").read_text(), (got / "plots" / "loss.html").read_text()) == (
        "second",
        "second loss",
    )


def test_mlflow_away_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    history = tmp_path / "history.jsonl"
    write(history, range(3))
    with Tail(history, lambda: open_run("x", "a" * 32, "n"), every=0.1) as tail:
        time.sleep(1.5)  # the first attempt and one more
    finish_run(tail.run_id, "FINISHED")
    finish_run("0" * 32, "FINISHED")
    log_files("0" * 32, {"report.html": "r"})
    said = capsys.readouterr().err
    assert said.count("the training goes on, its points are sent later") == 1
    assert said.count(f"kept in {history}") == 1
    assert "stays open there" in said
    assert "lacks the report's pages there" in said
    assert "secret" not in said
    with pytest.raises(CvflowError, match="MLflow at http://127.0.0.1:9") as raised:
        open_run("x", "a" * 32, "n")
    assert "secret" not in str(raised.value)


@pytest.mark.slow
def test_a_server_that_comes_later_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    history = tmp_path / "history.jsonl"
    server = None
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
    ]
    try:
        with Tail(history, lambda: open_run("x", "a" * 32, "n"), every=0.2) as tail:
            write(history, range(20))
            time.sleep(2)
            assert tail.run_id is None
            server = subprocess.Popen([*command, f"sqlite:///{tmp_path}/server.db"], start_new_session=True)
            deadline = time.monotonic() + 120
            while not history.with_name("history.jsonl.sent").exists() and time.monotonic() < deadline:
                time.sleep(0.5)
            write(history, range(20, 30))
        assert tail.run_id is not None
        assert logged(tail.run_id) == expected(30)
    finally:
        if server is not None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
