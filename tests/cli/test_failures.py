"""Exit codes: a stage that fails, a request that is wrong, an interruption.

Nothing finished is lost by any of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

Cvflow = Callable[..., subprocess.CompletedProcess[str]]
CVFLOW = str(Path(sys.executable).parent / "cvflow")
NET = '''\
    """A network that does as the variable TROUBLE says, which is in no fingerprint."""

    import os
    import time

    from torch import Tensor, nn

    from cvflow.models.backbones.base import Backbone
    from cvflow.registry import register


    @register("backbone", "troubled")
    class Troubled(Backbone):
        strides = (2,)

        def __init__(self, in_channels: int, image_size: tuple[int, int]) -> None:
            super().__init__()
            self.channels, self.num_features = (4,), 4
            self.layer = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)

        def forward(self, x_BCHW: Tensor) -> list[Tensor]:
            trouble = os.environ.get("TROUBLE")
            if trouble == "raise":
                raise RuntimeError("the user's network fails")
            time.sleep(0.1 if trouble == "slow" else 0)
            return [self.layer(x_BCHW)]
    '''
RECIPE = """\
    task: classification
    plugins: [net.py]
    data: {format: image_folder, source: raw, split: {test: 0.4}}
    image: {size: [12, 12], channels: 1}
    model: {backbone: troubled}
    train: {epochs: 40, batch_size: 8}
    compute: {threads: 1}
    """


@pytest.fixture
def troubled(tmp_path: Path, draw: Callable[..., None]) -> Path:
    """A project with a recipe and a network of the user's own, nothing run yet."""
    draw(tmp_path / "raw", 10)
    (tmp_path / "net.py").write_text(dedent(NET))
    (tmp_path / "mine.yaml").write_text(dedent(RECIPE))
    return tmp_path


def wait_for(text: str, file: Path, process: subprocess.Popen[Any]) -> None:
    until = time.monotonic() + 120
    while text not in file.read_text():
        assert process.poll() is None, file.read_text()
        assert time.monotonic() < until, file.read_text()
        time.sleep(0.1)


def interrupt(project: Path, *command: str) -> tuple[int, str]:
    """Start a slow training, press Ctrl-C in its fourth epoch; (exit code, what it said)."""
    log = project / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=project,
            stdout=out,
            stderr=out,
            env=os.environ | {"TROUBLE": "slow"},
            start_new_session=True,
        )
        try:
            # so that the second one's checkpoint is written
            wait_for("epoch   3", log, process)
            os.killpg(process.pid, signal.SIGINT)
            return process.wait(60), log.read_text()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_failure_an_interruption_and_a_wrong_request(troubled: Path, cvflow: Cvflow, dvc: Cvflow) -> None:
    failed = cvflow(troubled, "run", "mine.yaml", code=1, TROUBLE="raise")
    assert "RuntimeError: the user's network fails" in failed.stderr
    assert failed.stderr.splitlines()[-1] == "cvflow: stage train failed"
    assert "Data and pipelines are up to date" in dvc(troubled, "status", "prepare@mine").stdout

    code, said = interrupt(troubled, CVFLOW, "run", "mine.yaml")
    assert code == 130, said
    assert "Stage 'prepare@mine' didn't change, skipping" in said
    assert said.splitlines()[-1] == "cvflow: interrupted; the same command goes on from the last checkpoint"

    resumed = dvc(troubled, "repro", "train@mine")  # what the same command does first
    assert "resuming after epoch" in resumed.stderr
    assert "epoch   1 " not in resumed.stderr
    assert "epoch  40" in resumed.stderr
    assert len((troubled / "runs/mine/history.jsonl").read_text().splitlines()) > 40

    recipe = troubled / "mine.yaml"
    right = recipe.read_text()
    recipe.write_text(right.replace("epochs: 40", "epochs: forty").replace("threads: 1", "threads: none"))
    wrong = cvflow(
        troubled, "run", "mine.yaml", code=2
    )  # the resolve stage finds it: the command line is the former one
    assert "cvflow: 2 faults\n  - mine.yaml:6 train.epochs: got 'forty'" in wrong.stderr
    assert "mine.yaml:7 compute.threads: got 'none'" in wrong.stderr
    assert wrong.stderr.splitlines()[-1] == "cvflow: stage resolve failed"
    by_hand = dvc(troubled, "repro", code=255)
    assert "mine.yaml:6 train.epochs" in by_hand.stderr
    recipe.write_text(right)
    assert "Stage 'train@mine' didn't change, skipping" in dvc(troubled, "repro", "train@mine").stdout


@pytest.mark.slow
@pytest.mark.ray
def test_an_interruption_on_two_workers(troubled: Path) -> None:
    code, said = interrupt(troubled, CVFLOW, "run", "mine.yaml", "compute.workers=2")
    assert code == 130, said
    assert said.splitlines()[-1] == "cvflow: interrupted; the same command goes on from the last checkpoint"


def test_a_wrong_request_writes_nothing(troubled: Path, cvflow: Cvflow) -> None:
    before = sorted(troubled.iterdir())
    done = cvflow(troubled, "run", "mine.yaml", "train.epoch=3", "model=clasifier", code=2)
    assert done.stderr.startswith("cvflow: 2 faults\n")
    assert "override train.epoch: got the unknown key 'epoch'" in done.stderr
    assert "Did you mean 'epochs'?" in done.stderr
    assert "Did you mean 'classifier'?" in done.stderr
    assert done.stdout == ""
    assert sorted(troubled.iterdir()) == before


@pytest.mark.parametrize(
    ("verb", "classes", "message"),
    [
        ("run", {}, "no images in class folders"),
        ("show", {"only": ["a.png"]}, "got one class: 'only', expected at least two class folders"),
    ],
    ids=["an empty folder", "one class"],
)
def test_what_a_format_objects_to_comes_before_anything_runs(
    tmp_path: Path, cvflow: Cvflow, verb: str, classes: dict[str, list[str]], message: str
) -> None:
    (tmp_path / "raw").mkdir()
    for kind, names in classes.items():
        (tmp_path / "raw" / kind).mkdir()
        for name in names:
            (tmp_path / "raw" / kind / name).write_bytes(b"")
    (tmp_path / "r.yaml").write_text("task: classification\ndata: {format: image_folder, source: raw}\n")
    done = cvflow(tmp_path, verb, "r.yaml", code=2)
    assert done.stderr.startswith("cvflow: r.yaml:2 data.source raw: got ")
    assert message in done.stderr
    assert not (tmp_path / "dvc.yaml").exists()


def test_stages_alone(troubled: Path, cvflow: Cvflow) -> None:
    """One after the other without DVC; a stage or run that does not exist, an input that is not there."""
    entry = {"recipe": "mine.yaml", "source": "raw", "overrides": {"train.epochs": 1}}
    (troubled / "params.yaml").write_text(yaml.safe_dump({"runs": {"mine": entry}}))
    assert "Type 'cvflow stage resolve mine'" in cvflow(troubled, "stage", "prepare", "mine", code=2).stderr
    cvflow(troubled, "stage", "resolve", "mine")
    assert "runs/mine/data: got nothing, expected what train reads. Type 'cvflow stage prepare mine'" in (
        cvflow(troubled, "stage", "train", "mine", code=2).stderr
    )
    assert "prepared: train" in cvflow(troubled, "stage", "prepare", "mine").stderr
    assert "Did you mean 'prepare'?" in cvflow(troubled, "stage", "prepar", "mine", code=2).stderr
    assert "expected one of evaluate, " in cvflow(troubled, "stage", "show", "mine", code=2).stderr
    assert "Did you mean 'mine'?" in cvflow(troubled, "stage", "train", "mines", code=2).stderr
    assert not (troubled / ".dvc").exists()
