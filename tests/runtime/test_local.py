"""This process as the place of the work: its device, its threads, what it reports."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch

from cvflow.config import Compute
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History, read_history
from cvflow.engine.session import Point, Session
from cvflow.errors import RequestError
from cvflow.runtime.console import Console
from cvflow.runtime.cores import cores, threads
from cvflow.runtime.launch import launch
from cvflow.runtime.local import LocalSession, pick_device


def test_cores_are_those_that_this_process_may_use() -> None:
    assert cores() == len(os.sched_getaffinity(0))
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_workers_share_the_cores() -> None:
    assert threads(Compute()) == cores()
    assert threads(Compute(workers=2)) == max(1, cores() // 2)
    assert threads(Compute(workers=1000)) == 1
    assert threads(Compute(workers=2, threads=7)) == 7


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    assert pick_device(Compute()) == torch.device("cpu")
    with pytest.raises(RequestError, match=r"compute\.device: got cuda, .*Type compute\.device=cpu\."):
        pick_device(Compute(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_is_taken_where_there_is_one() -> None:
    assert pick_device(Compute()) == pick_device(Compute(device="cuda")) == torch.device("cuda")
    assert pick_device(Compute(device="cpu")) == torch.device("cpu")


def test_points_go_to_the_history_and_epochs_to_the_console(tmp_path: Path) -> None:
    said, file = io.StringIO(), tmp_path / "history.jsonl"
    session = LocalSession(Compute(threads=1), CheckpointStore(tmp_path), History(file), Console(said))
    assert torch.get_num_threads() == 1
    points = [
        Point(5, 1.0, {"loss": 0.25, "lr": 0.1}),
        Point(9, 2.0, {"epoch": 1.0, "images_per_second": 10.0, "val_accuracy": 0.5}),
    ]
    session.report(points)
    session.report(points)  # as a resumed training does
    assert [p for _, p in read_history(file)] == points
    assert "0.2500" in said.getvalue()
    assert "val_accuracy 0.5000" in said.getvalue()
    assert (session.rank, session.world_size, session.should_stop()) == (0, 1, False)


def work(session: Session, factor: int) -> tuple[int, int, str]:
    return session.rank, factor * session.world_size, session.checkpoints.root.name


def test_without_workers_the_work_is_done_here(tmp_path: Path) -> None:
    assert launch(work, Compute(), tmp_path / "checkpoints", factor=3) == (0, 3, "checkpoints")


def fail(session: Session) -> None:
    raise KeyError("mine")


def test_an_error_here_is_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        launch(fail, Compute(), tmp_path)
