"""What the machine does to a run: no room on the disk, a loss that is no number, killed loaders, no
memory, a clock that jumps.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import read_history
from cvflow.runtime.explain import OthersGoneError, explained, of_a_rank

Cvflow = Callable[..., subprocess.CompletedProcess[str]]


def change(project: Path, recipe: str = "mine.yaml", **sections: dict[str, Any]) -> None:
    """Set keys of the recipe's sections."""
    path = project / recipe
    data = yaml.safe_load(path.read_text())
    for section, keys in sections.items():
        data.setdefault(section, {}).update(keys)
    path.write_text(yaml.safe_dump(data))


def entered(project: Path, cvflow: Cvflow) -> None:
    """As far as before the training, without DVC."""
    (project / "params.yaml").write_text(
        yaml.safe_dump({"runs": {"mine": {"recipe": "mine.yaml", "source": "raw", "overrides": {}}}})
    )
    for stage in ("resolve", "prepare"):
        cvflow(project, "stage", stage, "mine")


def summaries(project: Path) -> list[dict[str, float]]:
    return [
        dict(p.metrics) for _, p in read_history(project / "runs/mine/history.jsonl") if "epoch" in p.metrics
    ]


@pytest.fixture
def spoilt(noting: Path) -> Path:
    """One white image, of which the network makes NaN."""
    Image.fromarray(np.full((12, 12), 255, np.uint8)).save(noting / "raw/light/white.png")
    net = (noting / "net.py").read_text()
    (noting / "net.py").write_text(
        net.replace("return [self.layer(x_BCHW)]", "return [spoil(x_BCHW, self.layer(x_BCHW))]")
        + dedent(SPOIL)
    )
    change(noting, train={"batch_size": 4, "epochs": 2}, data={"split": {"val": 0.0, "test": 0.0}})
    return noting


SPOIL = """

    def spoil(x: Tensor, y: Tensor) -> Tensor:
        white = (x.flatten(1).std(1) < 1e-6).view(-1, 1, 1, 1)
        return y + white * float("nan") if bool(white.any()) else y
    """


@pytest.mark.slow
def test_a_loss_that_is_no_number(spoilt: Path, cvflow: Cvflow) -> None:
    change(
        spoilt, evaluate={"split": "val"}, predict={"split": "val"}, data={"split": {"val": 0.1, "test": 0.0}}
    )
    entered(spoilt, cvflow)
    stopped = cvflow(spoilt, "stage", "train", "mine", code=1)
    assert "Traceback" not in stopped.stderr
    assert "the loss is not finite at step" in stopped.stderr
    assert "light/white.png" in stopped.stderr
    change(spoilt, train={"not_finite": "skip"})
    cvflow(spoilt, "stage", "resolve", "mine")
    went_on = cvflow(spoilt, "stage", "train", "mine")
    assert went_on.stderr.count("light/white.png") == 2  # an epoch each
    assert [s["skipped_steps"] for s in summaries(spoilt)] == [1, 2]


@pytest.mark.slow
@pytest.mark.ray
def test_a_loss_that_is_no_number_on_two_workers(spoilt: Path, cvflow: Cvflow) -> None:
    change(
        spoilt, evaluate={"split": "val"}, predict={"split": "val"}, data={"split": {"val": 0.1, "test": 0.0}}
    )
    stopped = cvflow(spoilt, "run", "mine.yaml", "compute.workers=2", code=1)
    assert "light/white.png" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    went_on = cvflow(spoilt, "run", "mine.yaml", "compute.workers=2", "train.not_finite=skip")
    assert went_on.stderr.count("light/white.png") == 2
    assert [s["skipped_steps"] for s in summaries(spoilt)] == [1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB; of those who may not mount, in a namespace of their own, which /proc
    shows to all.
    """
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(path)]
    if os.geteuid() == 0 and not subprocess.run(mount, check=False, capture_output=True).returncode:
        yield path
        subprocess.run(["umount", "-l", str(path)], check=True)
        return
    if shutil.which("unshare") is None:
        pytest.skip("a small file system cannot be mounted here: no unshare")
    held = ["unshare", "-rm", "sh", "-c", f"{shlex.join(mount)} && echo mounted && exec sleep 3600"]
    with subprocess.Popen(held, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"a small file system cannot be mounted here: {holder.communicate()[1]}")
        yield Path(f"/proc/{holder.pid}/root{path}")
        holder.kill()


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return disk / "filler"
    raise AssertionError


FILL = """
    import atexit, os, shutil
    from pathlib import Path


    def fill() -> None:
        steps = sum(1 for _ in Path(os.environ["STEPS"]).open()) if "FILL" in os.environ else None
        if steps == int(os.environ.get("FILL", -1)):
            with (Path(os.environ["DISK"]) / "filler").open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
    """


@pytest.mark.parametrize(
    ("step", "last", "history_is_cut"),
    [(18, 12, False), pytest.param(30, 24, True, marks=pytest.mark.slow)],
    ids=["checkpoint", "history"],
)
def test_no_room_for_what_a_training_keeps(
    noting: Path, small_disk: Path, cvflow: Cvflow, step: int, last: int, history_is_cut: bool
) -> None:
    """The disk is full from within an epoch on: the checkpoint before stays, and is gone on from
    when there is room.

    At the end of the second epoch the history still fits into its last page, and the checkpoint
    does not; at the third's it does not.
    """
    net = (noting / "net.py").read_text()
    (noting / "net.py").write_text(
        dedent(FILL) + net.replace("return [self.layer", "fill()\n        return [self.layer")
    )
    change(noting, compute={"storage": str(small_disk)})
    entered(noting, cvflow)
    variables = {"STEPS": str(noting / "steps"), "DISK": str(small_disk), "FILL": str(step)}
    failed = cvflow(noting, "stage", "train", "mine", code=1, **variables)
    assert "Traceback" not in failed.stderr
    assert "No space left" in failed.stderr
    assert "df -h" in failed.stderr
    (state,) = small_disk.glob("train/*")
    assert (not (state / "history.jsonl").read_bytes().endswith(b"\n")) == history_is_cut
    kept = CheckpointStore(state / "checkpoints").latest()
    assert kept is not None
    assert kept.state["step"] == last
    (small_disk / "filler").unlink()
    done = cvflow(noting, "stage", "train", "mine")
    assert f"resuming after epoch {last // 12} (step {last})" in done.stderr
    points = [p for _, p in read_history(noting / "runs/mine/history.jsonl")]
    assert [p.step for p in points if "epoch" not in p.metrics] == list(range(1, 49))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "left"), [("prepare", "data"), ("predict", "predictions"), ("evaluate", "evaluation")]
)
def test_no_room_for_a_stage_s_output(
    noting: Path, small_disk: Path, cvflow: Cvflow, stage: str, left: str
) -> None:
    if stage != "prepare":
        entered(noting, cvflow)
        cvflow(noting, "stage", "train", "mine")
        (noting / "runs/mine/registered.json").write_text(json.dumps({"model": "mine", "version": 1}))
    else:
        (noting / "params.yaml").write_text(
            yaml.safe_dump({"runs": {"mine": {"recipe": "mine.yaml", "source": "raw", "overrides": {}}}})
        )
        cvflow(noting, "stage", "resolve", "mine")
    shutil.move(noting / "runs", small_disk / "runs")
    (noting / "runs").symlink_to(small_disk / "runs")
    filler = fill(small_disk)
    failed = cvflow(noting, "stage", stage, "mine", code=1)
    assert "Traceback" not in failed.stderr
    assert "no room left on the disk" in failed.stderr
    filler.unlink()
    cvflow(noting, "stage", stage, "mine")
    assert any((noting / "runs/mine" / left).iterdir())


KILL = """
    import os, signal


    def die() -> None:
        if os.environ.get("DIE"):
            os.kill(os.getpid(), signal.SIGKILL)
    """


@pytest.mark.slow
def test_a_killed_loader_process(noting: Path, cvflow: Cvflow) -> None:
    """By a transform of the user's, which runs in the loader process."""
    transform = """
        @register("transform", "deadly")
        def deadly(image):
            def change(sample):
                die()
                return sample
            return change
        """
    net = (noting / "net.py").read_text()
    (noting / "net.py").write_text(dedent(KILL) + net + dedent(transform))
    change(noting, train={"augment": ["deadly"]}, compute={"loader_workers": 1})
    entered(noting, cvflow)
    failed = cvflow(noting, "stage", "train", "mine", code=1, DIE="1")
    assert failed.stderr.splitlines()[-1].startswith("cvflow: a loader process was killed")
    assert "compute.loader_workers" in failed.stderr
    cvflow(noting, "stage", "train", "mine")


def test_what_is_explained_and_what_is_not() -> None:
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        OSError(28, "No space left"),
    ):
        assert explained(error, "rank 3: ") is not None
        assert str(of_a_rank(error, 3, 4)).startswith("rank 3: ")
    assert explained(ValueError("mine")) is None
    assert explained(FileNotFoundError(2, "mine")) is None
    gone = of_a_rank(
        RuntimeError("[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 6000ms for recv"), 0, 2
    )
    assert isinstance(gone, OthersGoneError)
    assert gone.waited


CLOCK = """
    import os, time
    if os.environ.get("CLOCK_JUMPS"):
        real, begun = time.time, time.monotonic()
        time.time = lambda: real() + (0, -3600, 86400, -86400)[int(4 * (time.monotonic() - begun)) % 4]
    """


@pytest.mark.slow
def test_a_clock_that_jumps(noting: Path, cvflow: Cvflow) -> None:
    """An hour back, two days forward, and so on, four times a second; nothing is lost or doubled,
    no speed is absurd.
    """
    (noting / "shim").mkdir()
    (noting / "shim" / "sitecustomize.py").write_text(dedent(CLOCK))
    entered(noting, cvflow)
    done = cvflow(
        noting,
        "stage",
        "train",
        "mine",
        CLOCK_JUMPS="1",
        STEPS=str(noting / "steps"),
        PYTHONPATH=shim(noting),
    )
    assert "Traceback" not in done.stderr
    points = [p for _, p in read_history(noting / "runs/mine/history.jsonl")]
    assert [p.step for p in points if "epoch" not in p.metrics] == list(range(1, 49))
    times = [p.time for p in points]
    assert times != sorted(times)  # the clock did jump
    for summary in summaries(noting):
        assert 0 < summary["images_per_second"] < 1000
        assert all(0 <= v < 60 for k, v in summary.items() if k.startswith("seconds_"))
    assert sent(noting / "mlflow.db", "loss") == list(range(1, 49))


def shim(project: Path) -> str:
    return os.pathsep.join(filter(None, [str(project / "shim"), os.environ.get("PYTHONPATH", "")]))


def sent(database: Path, key: str) -> list[int]:
    """The steps of a metric's rows in an MLflow database."""
    import sqlite3

    with sqlite3.connect(database) as connection:
        return [
            step
            for (step,) in connection.execute("SELECT step FROM metrics WHERE key = ? ORDER BY step", (key,))
        ]


@pytest.mark.slow
def test_a_batch_must_hold_a_sample_for_each_worker(noting: Path, cvflow: Cvflow) -> None:
    change(noting, compute={"workers": [1, 3]})
    refused = cvflow(noting, "run", "mine.yaml", code=2)
    assert (
        "train.batch_size: got batches of 2, expected a sample or more for each of 3 workers."
        in refused.stderr
    )
    assert not (noting / "runs").exists()
