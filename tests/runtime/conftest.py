"""Real digits, a model on them, and the same pictures in every form that batch inference reads."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cvflow.config import Compute, Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.export import write_model
from cvflow.engine.job import make_task
from cvflow.registry import Component, build
from cvflow.tasks.classification import Classification

PICTURES = 90


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """323 digits to train on, 36 to validate, 1438 to test."""
    out = tmp_path_factory.mktemp("digits") / "data"
    prepare(
        build("format", Component(name="digits"), None),
        Classification.schema,
        "classification",
        SplitRule(test=0.8),
        out,
        64,
    )
    return PreparedDataset(out)


@pytest.fixture(scope="session")
def model(digits: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of a network as initialised: its answers differ from picture to picture,
    which is all that is needed.
    """
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (8, 8), "channels": 1},
    }
    recipe = Recipe.model_validate({**sections, "model": {"name": "classifier", "backbone": "mlp"}})
    torch.manual_seed(0)
    tensors = make_task(recipe, digits.info).build(recipe, digits.info).state_dict()
    out = tmp_path_factory.mktemp("model") / "model"
    write_model(
        out, tensors, recipe.model_dump(mode="json", by_alias=True), digits.info, "f" * 32, digits.digest
    )
    return out


@pytest.fixture(scope="session")
def pictures(digits: PreparedDataset) -> list[bytes]:
    """PNG files; the first eight and two others are not."""
    reader = digits.split("test")
    good = [reader[i]["image"] for i in range(PICTURES)]
    return [b"no picture" if i < 8 or i in (20, PICTURES - 1) else data for i, data in enumerate(good)]


@pytest.fixture
def source(
    tmp_path: Path, digits: PreparedDataset, pictures: list[bytes]
) -> Callable[[str], tuple[Path, list[str]]]:
    """Of a kind: its path and the ids that its answers must have, in order."""

    def make(kind: str) -> tuple[Path, list[str]]:
        path = tmp_path / kind
        names = [f"{'ab'[i % 2]}/{i:03d}.png" for i in range(PICTURES)]
        if kind == "prepared":
            reader = digits.split("test")
            return digits.path, [reader[i]["id"] for i in range(len(reader))]
        if kind == "folder":
            for name, data in zip(names, pictures, strict=True):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
            (path / "notes.txt").write_text("no picture")
            return path, sorted(names)
        if kind == "image":
            path.mkdir()
            (path / "one.png").write_bytes(pictures[-2])
            return path / "one.png", ["one.png"]
        file = path.with_suffix(".parquet")
        if kind == "bytes":
            table = pa.table({"label": range(PICTURES), "id": names, "image": pictures})
        else:  # as Hugging Face writes them; the first ones without their bytes
            cells = [
                {"bytes": None if i < 8 else data, "path": name}
                for i, (data, name) in enumerate(zip(pictures, names, strict=True))
            ]
            table, names = pa.table({"image": cells}), [str(i) for i in range(PICTURES)]
        pq.write_table(table, file, row_group_size=40)
        return file, names

    return make


@pytest.fixture(scope="module")
def local_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """One local Ray for the module; functions of its file travel to the workers as they stand."""
    import ray
    from ray import cloudpickle

    from cvflow.runtime.cluster import connect

    cloudpickle.register_pickle_by_value(request.module)
    connect(Compute())
    yield
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(request.module)


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[str | None]:
    """In place of the local Ray a cluster by ``ray start``, with its dashboard; that one's address.

    None where ``ray[default]`` is not installed: the dashboard is then a process that shows nothing.
    """
    import ray

    from cvflow.runtime.cluster import connect

    shows = importlib.util.find_spec("aiohttp_cors") is not None
    gcs, port, client = free_ports(3)
    # a socket's path must be short
    scratch = tempfile.mkdtemp(prefix="cvflow-ray-", dir="/tmp")
    wanted = [f"--port={gcs}", f"--dashboard-port={port}", "--num-cpus=2", f"--temp-dir={scratch}"]
    wanted += ["--include-dashboard=true", f"--ray-client-server-port={client}"] if shows else []
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        *wanted,
    ]
    log = tmp_path / "ray.log"
    ray.shutdown()
    with log.open("w") as out:
        head = psutil.Popen(command, stdout=out, stderr=out)
    node: list[psutil.Process] = []
    try:
        until = time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        node = head.children(recursive=True)
        assert any("dashboard.py" in " ".join(process.cmdline()) for process in node)
        connect(Compute(address=f"127.0.0.1:{gcs}"))
        yield f"http://127.0.0.1:{port}" if shows else None
        node = head.children(recursive=True)
    finally:
        ray.shutdown()
        for process in (head, *node):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(30)
        shutil.rmtree(scratch, ignore_errors=True)
        connect(Compute())  # for the tests that follow


def free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]
