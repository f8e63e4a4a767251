"""What a training and a prediction show, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from cvflow.engine.session import Point, Progress
from cvflow.runtime import console as module
from cvflow.runtime.console import Console, Pace, words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_an_epoch_and_nothing_between() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.progress(Progress(1, 3, 5, 10, 812.4, 61.0, {"loss": 0.5}))
    console.point(Point(5, 0.0, {"loss": 0.25, "lr": 0.1}))
    console.point(
        Point(10, 0.0, {"epoch": 1.0, "val_accuracy": 0.75, "val_loss": 0.0004, "images_per_second": 812.4})
    )
    assert stream.getvalue() == (
        "epoch   1  loss 0.2500  val_accuracy 0.7500  val_loss 0.0004  812 images/s  ETA 0:01:01\n"
    )


def test_within_a_long_epoch_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_EVERY", -1.0)
    stream = io.StringIO()
    Console(stream).progress(Progress(1, 3, 5, 10, 812.4, 61.0, {"loss": 0.5}))
    assert stream.getvalue() == "epoch   1/3  step 5/10  loss 0.5000  812 images/s  ETA 0:01:01\n"


def test_a_terminal_has_a_bar_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    console = Console(stream)
    for step in (1, 5):
        console.progress(Progress(1, 3, step, 10, 812.4, 61.0, {"loss": 0.5}))
    assert stream.getvalue().count("epoch   1/3") == 2
    assert "━" * 12 + "╌" * 12 in stream.getvalue()
    assert "\n" not in stream.getvalue().rstrip("\n"), "it is one line"
    console.say("stopped")
    assert stream.getvalue().endswith("stopped\n")
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l"), (
        "the cursor is there"
    )


def test_the_pace_of_a_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "REWRITTEN_EVERY", -1.0)
    monkeypatch.setattr(module, "PLAIN_EVERY", -1.0)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        pace = Pace(0, 2000, stream)
        pace.reached(500)
        pace.end()
        assert "500/2,000 rows" in stream.getvalue()
    assert file.getvalue().count("\n") == 1


def test_small_numbers_keep_their_digits() -> None:
    assert words({"loss": 0.00001234, "accuracy": 0.5}) == "loss 1.234e-05  accuracy 0.5000"
