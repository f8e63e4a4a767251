"""MLflow's own server, as a process, on a registered model: every form of request, a broken image
among good ones.
"""

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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvflow.annotations import disparity
from cvflow.config import Recipe
from cvflow.engine.export import write_model
from cvflow.engine.job import make_task
from cvflow.formats.built_in.layered_scenes import LayeredScenes
from cvflow.runtime import model_registry as registry
from cvflow.runtime.champions import crown
from cvflow.runtime.tracking import open_run
from cvflow.types import DatasetInfo
from cvflow.verbs.api import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]


@pytest.fixture
def server(project: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with served(project, model) as address:
        yield address


@contextmanager
def served(project: Path, model: Path) -> Iterator[str]:
    """``mlflow models serve -m models:/served@champion``; its address."""
    (project / "card.md").write_text("# served\n")
    run_id = open_run("served", "f" * 32, "served")
    crown(
        "served",
        registry.register_version("served", run_id, model, "f" * 32, {}, {}, project / "card.md"),
        "the first",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # the command starts `python`
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry.tracking_uri(), "PATH": path}
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "models:/served@champion",
        "--env-manager",
        "local",
        "-p",
        port,
    ]
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


@pytest.fixture
def pair_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of a stereo network as initialised."""
    network = {"name": "cost_volume_stereo", "max_disparity": 8, "channels": 8, "depth": 0}
    sections = {
        "task": "stereo",
        "data": {"format": "layered_scenes"},
        "image": {"size": (32, 48)},
        "model": network,
    }
    recipe, info = (
        Recipe.model_validate(sections),
        DatasetInfo("stereo", (), {"train": 1}, (0.5,) * 3, (0.25,) * 3, "0" * 32),
    )
    torch.manual_seed(0)
    tensors = make_task(recipe, info).build(recipe, info).state_dict()
    out = tmp_path_factory.mktemp("pairs") / "model"
    write_model(out, tensors, recipe.model_dump(mode="json", by_alias=True), info, "f" * 32, "0" * 32)
    return out


def test_pairs_of_images_are_answered(
    project: Path, pair_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two columns of images; the answer is a map, which is a file, and so base64 text."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    scenes = [
        {name: read() for name, read in scene.images.items()}
        for scene in LayeredScenes(None, count=5, size=(40, 60), most=8.0)
    ][:2]
    rows = [{name: base64.b64encode(data).decode() for name, data in scene.items()} for scene in scenes]
    rows.append({**rows[0], "right": "not base64!"})
    rows.append({"left": rows[0]["left"], "right": base64.b64encode(b"no image").decode()})
    columns = {name: [row[name] for row in rows] for name in ("left", "right")}
    requests = [
        {"dataframe_records": rows},
        {
            "dataframe_split": {
                "columns": ["right", "left"],
                "data": [[row["right"], row["left"]] for row in rows],
            }
        },
        {"inputs": columns},
        {"inputs": rows},
    ]
    with served(project, pair_model) as address:
        answers = [ask(address, request) for request in requests]
    for answer in answers[1:]:
        assert answer == answers[0]
    *good, no_text, unreadable = answers[0]
    assert no_text == {"error": "not the base64 text of an image file"}
    assert unreadable == {"error": "not an image"}
    expected = load(str(pair_model), "cpu").predict(scenes)
    for answer, here in zip(good, expected, strict=True):
        found = disparity.decode(base64.b64decode(answer["disparity"]))
        assert found.shape == (40, 60)
        np.testing.assert_allclose(found, disparity.decode(here["disparity"]), atol=1e-4)
