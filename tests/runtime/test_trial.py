"""The parts of a trial that need no Ray: taking over another's checkpoint, its folder, requests to
stop, how it ended.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cvflow.engine.checkpoint import Checkpoint, CheckpointStore
from cvflow.engine.history import History, read_history
from cvflow.engine.session import Point
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.runtime.trial import STOP, adopt, asked_to_stop, ended, own_folder


def test_another_s_checkpoint_is_gone_on_from_with_own_params_and_later_points_are_forgotten(
    tmp_path: Path,
) -> None:
    groups = [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    ]
    state = {"step": 20, "source": 3, "optimizer": {"slots": {}, "param_groups": groups}}
    donor = CheckpointStore(tmp_path / "donor").save(
        20, Checkpoint(state, {"model": {"w": torch.tensor([2.0])}})
    )
    folder = tmp_path / "own"
    CheckpointStore(folder / "checkpoints").save(
        30, Checkpoint({"step": 30}, {"model": {"w": torch.tensor([1.0])}})
    )
    History(folder / "history.jsonl").append([Point(step, 0.0, {"loss": 1.0}) for step in (10, 20, 30)])

    params = {
        "train.optimizer.weight_decay": 0.5,
        "train.optimizer.momentum": 0.8,
        "task.label_smoothing": 0.1,
    }
    assert adopt(donor, folder, params) == 3

    taken = CheckpointStore(folder / "checkpoints").latest()
    assert taken is not None
    assert (taken.state["step"], taken.state["source"], taken.state["params"]) == (20, 3, params)
    assert taken.tensors["model"]["w"].tolist() == [2.0]
    now = taken.state["optimizer"]["param_groups"]
    assert [(g["momentum"], g["weight_decay"]) for g in now] == [
        (0.8, 0.5),
        (0.8, 0.0),
    ]  # what is not decayed stays so
    assert [point.step for _, point in read_history(folder / "history.jsonl")] == [10, 20]
    history = History(folder / "history.jsonl")
    history.append([Point(25, 0.0, {"loss": 0.5})])
    assert [point.step for _, point in read_history(folder / "history.jsonl")] == [10, 20, 25]


def test_a_trial_finds_its_folder_by_the_scheduler_s_name_for_it(tmp_path: Path) -> None:
    assert own_folder(tmp_path, "abc", 7) == tmp_path / "trials" / "0007"
    assert own_folder(tmp_path, "abc") == tmp_path / "trials" / "0007"


@pytest.mark.parametrize("place", ["", "trials/0007"])
def test_a_file_asks_all_trials_or_one_to_stop(tmp_path: Path, place: str) -> None:
    folder, other = tmp_path / "trials" / "0007", tmp_path / "trials" / "0008"
    folder.mkdir(parents=True)
    other.mkdir()
    assert not asked_to_stop(folder)
    (tmp_path / place / STOP).touch()
    assert asked_to_stop(folder)
    assert asked_to_stop(other) == (place == "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, {"end": "done"}),
        (InterruptedRunError("stopped"), {"end": "interrupted"}),
        (CvflowError("the loss is not finite"), {"end": "failed", "reason": "the loss is not finite"}),
        (KeyError("name"), {"end": "failed", "reason": "KeyError: 'name'"}),
        (torch.OutOfMemoryError("9 GB\nmore"), {"end": "failed", "reason": "out of memory: 9 GB"}),
    ],
)
def test_how_a_trial_ended(tmp_path: Path, error: Exception | None, said: dict[str, str]) -> None:
    def work() -> None:
        if error is not None:
            raise error

    assert ended(tmp_path, work) == said


def test_a_trial_that_its_scheduler_stopped_is_no_interruption(tmp_path: Path) -> None:
    def work() -> None:
        raise InterruptedRunError("stopped")

    (tmp_path / STOP).touch()
    assert ended(tmp_path, work) == {"end": "stopped"}
