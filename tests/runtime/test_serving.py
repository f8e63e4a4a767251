"""MLflow's own server, as a process, on a registered model: every form of request, a broken image among good ones."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvflow.runtime import model_registry as registry
from cvflow.runtime.champions import crown
from cvflow.runtime.tracking import open_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]


@pytest.fixture
def server(project: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``mlflow models serve -m models:/digits@champion``; its address."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (project / "card.md").write_text("# digits\n")
    run_id = open_run("digits", "f" * 32, "digits")
    crown("digits", registry.register_version("digits", run_id, model, "f" * 32, {}, {}, project / "card.md"), "the first")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the command starts `python`
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry.tracking_uri(), "PATH": path}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/digits@champion", "--env-manager", "local", "-p", port]
    log = (project / "server.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/ping", process, project / "server.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(log.read_text())


def ask(address: str, request: Any) -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"{address}/invocations", json.dumps(request).encode(), headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return list(json.loads(answer.read())["predictions"])
    except urllib.error.HTTPError as error:
        pytest.fail(f"{error.code}: {error.read().decode()[:2000]}")


def test_images_are_answered(server: str, pictures: list[bytes]) -> None:
    good, other = (base64.b64encode(pictures[i]).decode() for i in (10, 11))
    broken = base64.b64encode(b"no image").decode()
    images = [good, broken, "not base64!", other]
    requests = [
        {"dataframe_split": {"columns": ["image"], "data": [[image] for image in images]}},
        {"dataframe_records": [{"image": image} for image in images]},
        {"inputs": {"image": images}},
        {"inputs": images},
        {"inputs": [{"image": image} for image in images]},
    ]
    answers = [ask(server, request) for request in requests]
    for answer in answers[1:]:
        assert answer == answers[0]
    first, unreadable, no_text, last = answers[0]
    for answer in (first, last):
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert answer["class"] in {str(digit) for digit in range(10)}
    assert unreadable == {"error": "not an image"}
    assert no_text == {"error": "not the base64 text of an image file"}
