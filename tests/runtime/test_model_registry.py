"""The registry on a real MLflow store, with a real (untrained) model in it."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvflow.config import Recipe
from cvflow.engine.export import write_model
from cvflow.engine.job import make_task
from cvflow.errors import CvflowError, RequestError
from cvflow.runtime import model_registry as registry
from cvflow.runtime import registry_look
from cvflow.runtime.tracking import open_run
from cvflow.runtime.tracking_uri import connect
from cvflow.types import DatasetInfo

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings(
        "ignore:.*Any type hint is inferred as AnyType"
    ),  # MLflow's own, while it imports itself
]
ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store of its own, current for the module."""
    folder = tmp_path_factory.mktemp("registry") / "a project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet of two classes, as the train stage writes it."""
    data = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": [28, 28], "channels": 1},
        "model": {"backbone": "lenet"},
    }
    recipe = Recipe.model_validate(data)
    info = DatasetInfo("classification", ("cat", "dog"), {"train": 2}, (0.5,), (0.5,), "x")
    model = make_task(recipe, info).build(recipe, info)
    folder = tmp_path_factory.mktemp("trained") / "model"
    (folder.parent / "card.md").write_text(
        "# pets\n\n" + "\n".join(f"## Part {i}\n\n{'x' * 900}\n" for i in range(7))
    )
    write_model(
        folder,
        model.state_dict(),
        recipe.model_dump(mode="json", by_alias=True),
        info,
        ONE,
        "0" * 32 + ".dir",
    )
    return folder


def register(
    model: str,
    run_id: str,
    model_dir: Path,
    fingerprint: str,
    tags: dict[str, str],
    metrics: dict[str, float],
) -> int:
    return registry.register_version(
        model, run_id, model_dir, fingerprint, tags, metrics, model_dir.parent / "card.md"
    )


@pytest.fixture(scope="module")
def registered(store: Path, model_dir: Path) -> str:
    """The run behind ``pets`` versions 1 and 2; 1 is champion, 2 challenger."""
    run_id = open_run("pets", ONE, "pets")
    tags = {"cvflow.run": "pets", "cvflow.data_digest": "abc"}
    assert register("pets", run_id, model_dir, ONE, tags, {"accuracy": 0.1 + 0.2}) == 1
    registry.connect().set_registered_model_alias("pets", "champion", "1")
    assert register("pets", open_run("pets", TWO, "pets"), model_dir, TWO, tags, {"accuracy": 0.5}) == 2
    return run_id


def test_versions_tell_what_was_registered(registered: str) -> None:
    second, first = registry.versions("pets")
    assert (first.name, first.version, first.aliases, first.run_id) == ("pets", 1, ("champion",), registered)
    assert (second.version, second.aliases) == (2, ("challenger",))
    assert first.metrics == {"accuracy": 0.1 + 0.2}  # all its digits
    assert first.tags["cvflow.fingerprint"] == ONE
    assert first.tags["cvflow.data_digest"] == "abc"
    json.dumps([vars(first)])
    assert {v.name for v in registry.versions()} == {"pets"}
    assert registry.versions("none such") == []


def test_the_same_fingerprint_is_the_same_version(registered: str, model_dir: Path) -> None:
    run_id = open_run("again", ONE, "again")
    assert register("again", run_id, model_dir, ONE, {}, {"accuracy": 0.5}) == 1
    assert register("again", run_id, model_dir, ONE, {"more": "x"}, {"accuracy": 0.75}) == 1
    (only,) = registry.versions("again")
    assert (only.metrics, only.tags["more"]) == ({"accuracy": 0.75}, "x")
    connect().delete_registered_model("again")


def test_the_card_is_a_file_of_the_version_and_describes_it(registered: str, model_dir: Path) -> None:
    text = (model_dir.parent / "card.md").read_text()
    assert (registry.download("models:/pets/1").parent / "card.md").read_text() == text
    assert "card.md" in [file.path for file in connect().list_artifacts(registered)]
    said = connect().get_model_version("pets", "1").description
    assert len(said) <= 5000
    assert said.startswith("# pets\n\n## Part 0")
    assert said.endswith("x\n\nThe rest is in card.md, among the files of the run and of the model.\n")


def test_a_deleted_version_is_made_again(store: Path, registered: str, model_dir: Path) -> None:
    run_id = open_run("fallen", ONE, "fallen")
    assert register("fallen", run_id, model_dir, ONE, {}, {}) == 1
    connect().delete_model_version("fallen", "1")
    assert not registry_look.holds(registry.tracking_uri(), "fallen", 1, ONE)
    version = register("fallen", run_id, model_dir, ONE, {}, {})
    assert registry_look.holds(registry.tracking_uri(), "fallen", version, ONE)
    connect().delete_registered_model("fallen")


def test_a_run_keeps_its_state_when_its_model_is_logged(registered: str) -> None:
    run = connect().get_run(registered)
    assert (run.info.status, run.info.end_time) == ("RUNNING", None)
    assert len(run.outputs.model_outputs) >= 1


def test_champion(registered: str) -> None:
    found = registry.champion("pets")
    assert found is not None
    assert found.version == 1
    assert registry.champion("none such") is None


def test_a_version_that_is_not_there_is_refused(registered: str) -> None:
    with pytest.raises(
        RequestError, match=r"got 'models:/pets/9', expected an alias \(.*\) or a version \(1, 2\)"
    ):
        registry.find_version("models:/pets/9")


@pytest.mark.parametrize("uri", ["models:/pets@champion", "models:/pets/2", "runs:/{run}/model"])
def test_a_local_model_is_read_in_place(store: Path, registered: str, model_dir: Path, uri: str) -> None:
    found = registry.download(uri.format(run=registered))
    assert found.is_relative_to(store / "mlartifacts")
    assert {p.name: p.read_bytes() for p in found.iterdir()} == {
        p.name: p.read_bytes() for p in model_dir.iterdir()
    }
    assert not (store / ".cvflow" / "models").exists()


def test_the_exact_version(registered: str) -> None:
    assert registry.exact_version("models:/pets@champion") == "pets/1"
    assert registry.exact_version("runs:/abc/model") == "runs:/abc/model"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "models:/pest@champion",
            "got 'pest', expected a registered model: one of pets. Did you mean 'pets'?",
        ),
        ("models:/pets@champoin", "expected an alias (challenger, champion"),
        ("models:/pets@champoin", "Did you mean 'champion'?"),
        ("models:/pets/7", "or a version (1, 2) of 'pets'"),
        ("models:/pets", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("runs:/" + "0" * 32 + "/model", "Type 'cvflow ui' to see the runs"),
    ],
)
def test_what_there_is_is_named(registered: str, uri: str, message: str) -> None:
    with pytest.raises(RequestError) as raised:
        registry.download(uri)
    assert message in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_model_whose_files_are_gone(registered: str, model_dir: Path) -> None:
    register("lost", open_run("lost", ONE, "lost"), model_dir, ONE, {}, {})
    shutil.rmtree(registry.download("models:/lost/1"))
    with pytest.raises(RequestError, match="expected the files of a model that cvflow registered"):
        registry.download("models:/lost/1")
    connect().delete_registered_model("lost")


def test_holds(registered: str) -> None:
    uri = registry.tracking_uri()
    assert registry_look.holds(uri, "pets", 1, ONE)
    assert not registry_look.holds(uri, "pets", 1, TWO)
    assert not registry_look.holds(uri, "pets", 3, ONE)
    assert not registry_look.holds(uri, "pest", 1, ONE)


def test_a_light_look_imports_no_mlflow_and_makes_no_file(
    store: Path, registered: str, tmp_path: Path
) -> None:
    code = (
        "import sys; from cvflow.runtime.model_registry import versions; "
        "from cvflow.runtime.registry_look import holds\n"
        f"here = holds('{registry.tracking_uri()}', 'pets', 1, '{ONE}')\n"
        f"print(here, holds('sqlite:///{tmp_path}/none.db', 'pets', "
        f"1, '{ONE}'), versions(), 'mlflow' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert said.stdout.split() == ["True", "False", "[]", "False"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_text("no database at all")
    with pytest.raises(CvflowError, match="MLflow at sqlite:///.*file is not a database"):
        registry_look.holds(registry.tracking_uri(), "pets", 1, ONE)


def test_tables_that_are_not_there_are_left_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # as a kill in the middle of the first use leaves it
    (tmp_path / "mlflow.db").touch()
    assert not registry_look.holds(registry.tracking_uri(), "pets", 1, ONE)
    assert open_run("pets", ONE, "pets")


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(81, dtype=np.uint8).reshape(9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def test_mlflow_serves_the_model(store: Path, registered: str) -> None:
    request = store / "input.json"
    request.write_text(json.dumps({"dataframe_records": [{"image": base64.b64encode(png()).decode()}]}))
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "predict",
        "--env-manager",
        "local",
        "-m",
        "models:/pets@champion",
    ]
    # The command loads the model with the `python` of the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry.tracking_uri(), "PATH": path}
    done = subprocess.run(
        [*command, "-i", str(request), "-t", "json"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["predictions"]
    assert answer["class"] in ("cat", "dog")
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert "arning" not in done.stderr


def test_bytes_and_base64_are_answered_and_a_path_is_not_opened(store: Path, registered: str) -> None:
    import mlflow.pyfunc
    import pandas as pd

    loaded = mlflow.pyfunc.load_model(str(registry.download("models:/pets@champion").parents[1]))
    answers = loaded.predict(pd.DataFrame({"image": [png(), base64.b64encode(png()).decode(), b"no image"]}))
    assert answers[0] == answers[1]
    assert set(answers[2]) == {"error"}
    (store / "secret").write_bytes(png())
    for wrong in (str(store / "secret"), "secret.png", "grün", None, 3.5):
        readable, other = loaded.predict(pd.DataFrame({"image": [png(), wrong]}))
        assert readable == answers[0]
        assert other == {"error": "not the base64 text of an image file"}


@pytest.mark.slow
def test_a_server_keeps_the_files(tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
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
    server = subprocess.Popen(
        [*command, f"sqlite:///{tmp_path}/server.db"], start_new_session=True, cwd=tmp_path
    )
    try:
        wait_for(uri)
        run_id = open_run("pets", ONE, "pets")
        assert register("pets", run_id, model_dir, ONE, {}, {"accuracy": 0.5}) == 1
        assert register("pets", run_id, model_dir, ONE, {}, {"accuracy": 0.5}) == 1
        assert registry_look.holds(uri, "pets", 1, ONE)
        found = registry.download("models:/pets@challenger")
        assert {p.name: p.read_bytes() for p in found.iterdir()} == {
            p.name: p.read_bytes() for p in model_dir.iterdir()
        }
        assert found.is_relative_to(tmp_path / "here" / ".cvflow" / "models")
        assert registry.download("models:/pets/1") == registry.download(f"runs:/{run_id}/model") == found
        assert (
            len(list((tmp_path / "here" / ".cvflow" / "models").iterdir())) == 1
        )  # nothing half-fetched is left
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait_for(uri: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"{uri} did not come up")
