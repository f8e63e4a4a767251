"""Ray workers that are killed, hang, run out of memory or raise: what is tried again, what ends the
run, and what is said.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch.distributed

from cvflow.config import Compute
from cvflow.engine.session import Session
from cvflow.errors import CvflowError
from cvflow.runtime.launch import launch

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def trouble(session: Session, what: str, log: str, times: int = 99) -> str:
    """Rank 1 is in trouble the first ``times`` times; rank 0 waits for it."""
    session.report([])  # both have started, and Ray knows
    if session.rank == 1:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(Path(log).read_text().split()) <= times:
            in_trouble(what)
    torch.distributed.barrier()
    return "done"


def in_trouble(what: str) -> None:
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "asleep":
        time.sleep(3600)
    if what == "greedy":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))
        bytearray(1 << 40)
    if what == "wrong":
        raise ValueError("the user's own fault")


def run(tmp_path: Path, what: str, times: int = 99, hang_minutes: float = 30.0) -> tuple[str, list[int]]:
    """(what came of it, the pids of rank 1 in turn)"""
    compute = Compute(workers=2, threads=1, device="cpu", hang_minutes=hang_minutes)
    log = tmp_path / "log"
    try:
        said = launch(
            trouble,
            compute,
            tmp_path / "checkpoints",
            tmp_path / "history.jsonl",
            what=what,
            log=str(log),
            times=times,
        )
    except CvflowError as error:
        said = str(error)
    return said, [int(pid) for pid in log.read_text().split()]


def test_a_worker_killed_once_is_replaced_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, pids = run(tmp_path, "killed", times=1)
    assert said == "done"
    assert len(pids) == 2
    assert f"rank 1 (process {pids[0]} on " in capsys.readouterr().err


def test_a_worker_killed_always_ends_it(tmp_path: Path) -> None:
    said, pids = run(tmp_path, "killed")
    assert len(pids) == 3
    assert f"rank 1 (process {pids[-1]} on " in said
    assert "SIGKILL" in said
    assert "The last checkpoint is kept: the same command goes on from there." in said
    assert len(said) < 500


def test_what_the_work_raises_is_not_tried_again(tmp_path: Path) -> None:
    said, pids = run(tmp_path, "wrong")
    assert len(pids) == 1
    assert said.startswith("rank 1 failed\nTraceback")
    assert said.endswith("ValueError: the user's own fault")


def test_out_of_memory_says_what_to_type(tmp_path: Path) -> None:
    said, pids = run(tmp_path, "greedy")
    assert len(pids) == 1
    assert said.startswith("rank 1: out of memory")
    assert "train.accumulate=2" in said
    assert "train.batch_size" in said


@pytest.mark.parametrize("what", ["asleep", "stopped"])
def test_a_hung_worker_is_noticed_and_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    said, pids = run(tmp_path, what, times=1, hang_minutes=0.1)
    assert said == "done"
    assert len(pids) == 2
    heard = capsys.readouterr().err
    assert "rank 1 " in heard
    assert "did not answer for compute.hang_minutes" in heard


GREEDY = """
import sys
from pathlib import Path

import torch.distributed

from cvflow.config import Compute
from cvflow.errors import CvflowError
from cvflow.runtime.launch import launch


def greedy(session, log):
    session.report([])
    if session.rank == 1:
        with Path(log).open("a") as file:
            file.write("begun\\n")
        hoard = []
        # the first of them takes what there is, in pages that it writes to
        while Path(log).read_text().count("begun") < 2:
            hoard.append(bytearray(b"x" * (50 << 20)))
    torch.distributed.barrier()
    return "done"


root = Path(sys.argv[1])
compute = Compute(workers=2, threads=1, device="cpu")
try:
    print(launch(greedy, compute, root / "checkpoints", root / "history.jsonl", log=str(root / "log")))
except CvflowError as error:
    print(error)
"""


def test_a_worker_that_ray_kills_for_its_memory_is_replaced_and_said(tmp_path: Path) -> None:
    """By Ray's own monitor, which is told that the node has 3 GiB more than it uses now.

    It may kill more than the greedy one.
    """
    memory = psutil.virtual_memory()
    if memory.available < 6 << 30:
        pytest.skip("less than 6 GiB of memory is free")
    (tmp_path / "greedy.py").write_text(GREEDY)
    used = (memory.total - memory.available + (3 << 30)) / memory.total
    variables = {"RAY_memory_usage_threshold": f"{used:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    command = [sys.executable, str(tmp_path / "greedy.py"), str(tmp_path)]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert "was killed, since the memory of its node ran out" in done.stderr + done.stdout
    ended = done.stdout.splitlines()[-1]
    assert ended == "done" or ended.endswith(
        "The last checkpoint is kept: the same command goes on from there."
    ), done.stdout
    assert "Traceback" not in done.stderr


def test_a_worker_that_always_hangs_ends_it(tmp_path: Path) -> None:
    said, pids = run(tmp_path, "asleep", hang_minutes=0.1)
    assert len(pids) == 3
    assert said.startswith("rank 1 did not answer for compute.hang_minutes")
