"""What a search shows: lines where there is no terminal, a table of the running and the best on one."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from cvflow.engine.history import History
from cvflow.engine.search.conductor import Conductor
from cvflow.engine.search.space import Space
from cvflow.engine.session import Point
from cvflow.registry import build
from cvflow.runtime.trials_console import TrialsConsole
from cvflow.space import Search
from cvflow.types import Objective


def conduct(folder: Path) -> Conductor:
    search = Search.model_validate({"space": {"a.lr": [0.1, 0.25, 0.5], "seed": [7]}, "algorithm": "grid"})
    return Conductor(
        search,
        Objective("accuracy", "max"),
        build("searcher", search.algorithm, Space(search.space, {}), 0),
        folder,
    )


def end(conductor: Conductor, number: int, score: float | None) -> None:
    if score is None:
        conductor.end(number, "failed", "no\nmore of it")
        return
    points = [Point(1, 0.0, {"epoch": 1.0, "val_accuracy": score})]
    History(conductor.trial_folder(number) / "history.jsonl").append(points)
    conductor.end(number, "done")


def test_a_line_for_each_trial_that_ends(tmp_path: Path) -> None:
    stream = io.StringIO()
    conductor = conduct(tmp_path)
    with TrialsConsole(conductor, stream) as console:
        conductor.listen.append(console.show)
        for number, score in enumerate((0.5, None, 0.75)):
            conductor.ask()
            end(conductor, number, score)
    first, second, third = stream.getvalue().splitlines()
    assert first.startswith(
        "trial   0  1/3  0.5000 after 1 epochs  lr=0.1 seed=7  best 0.5000 (trial 0)  ETA "
    )
    assert second.startswith("trial   1  2/3  failed: no  lr=0.25 seed=7  best 0.5000 (trial 0)  ETA ")
    assert third == "trial   2  3/3  0.7500 after 1 epochs  lr=0.5 seed=7  best 0.7500 (trial 2)"
    again = io.StringIO()
    with TrialsConsole(conduct(tmp_path), again):
        pass
    assert again.getvalue() == "going on: 3 of 3 trials have ended\n"


def test_the_table_has_the_running_first_and_then_the_best(tmp_path: Path) -> None:
    conductor = conduct(tmp_path)
    for _ in range(3):
        conductor.ask()
    end(conductor, 0, 0.5)
    end(conductor, 1, 0.75)
    stream = io.StringIO()
    Console(file=stream, width=120).print(TrialsConsole(conductor, stream).table())
    title, _, *rows = stream.getvalue().splitlines()
    assert title.startswith("2 of 3 trials  best 0.7500 (trial 1)")
    assert [row.split()[0] for row in rows] == ["2", "1", "0"]
    assert rows[0].split()[1] == "runs"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 10
        while text not in self.getvalue():
            assert time.monotonic() < until, self.getvalue()
            time.sleep(0.05)


def test_on_a_terminal_the_table_follows_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    conductor, stream = conduct(tmp_path), Terminal()
    with TrialsConsole(conductor, stream) as console:
        conductor.listen.append(console.show)
        conductor.ask()
        stream.wait_for("0 of 3 trials")
        end(conductor, 0, 0.5)
        stream.wait_for("1 of 3 trials")
    said = stream.getvalue()
    assert "best 0.5000 (trial 0)  ETA " in said
    assert "after 1 epochs" not in said, "no lines beside the table"
