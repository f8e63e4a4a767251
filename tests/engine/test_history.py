"""A step is written once, whatever is killed and reported again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvflow.engine.history import History, read_history
from cvflow.engine.session import Point


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "history.jsonl"


def point(step: int, **metrics: float) -> Point:
    return Point(step, 1e9 + step, metrics or {"loss": 1 / step})


def read(path: Path) -> list[Point]:
    return [p for _, p in read_history(path)]


def test_points_come_back(path: Path) -> None:
    points = [point(1), point(2), point(2, epoch=1.0, val_loss=0.1)]
    History(path).append(points)
    assert read(path) == points


def test_a_step_is_written_once_also_by_another_process(path: Path) -> None:
    first = History(path)
    first.append([point(1), point(2)])
    first.append([point(2), point(2, epoch=1.0)])
    again = History(path)  # resumed: reports the epoch's points once more, then goes on
    again.append([point(1), point(2), point(2, epoch=1.0)])
    again.append([point(3)])
    assert [(p.step, "epoch" in p.metrics) for p in read(path)] == [
        (1, False),
        (2, False),
        (2, True),
        (3, False),
    ]


def test_a_cut_last_line_is_dropped_and_written_again(path: Path) -> None:
    History(path).append([point(1), point(2)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert [p.step for p in read(path)] == [1]
    History(path).append([point(1), point(2), point(3)])
    assert read(path) == [point(1), point(2), point(3)]


def test_a_single_cut_line_leaves_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"step": 1, "ti')
    History(path).append([point(1)])
    assert read(path) == [point(1)]


def test_reading_goes_on_from_an_offset(path: Path) -> None:
    history = History(path)
    history.append([point(1), point(2)])
    offset = [end for end, _ in read_history(path)][-1]
    assert list(read_history(path, offset)) == []
    history.append([point(3)])
    assert [p.step for _, p in read_history(path, offset)] == [3]


def test_no_file_no_points(path: Path) -> None:
    assert read(path) == []
