"""Parallel coordinates: where the lines run, gaps, and which is drawn last."""

from __future__ import annotations

from cvflow.draw import Section, page
from cvflow.draw.parallel import Axis, Parallel

AXES = [Axis("lr", "0.001", "1"), Axis("momentum", "0", "0.9"), Axis("score", "0.1", "<0.9>")]


def test_a_line_runs_over_the_axes_and_breaks_where_there_is_no_value() -> None:
    block = Parallel(AXES, [("a", [0.0, 0.5, 1.0], 0.2), ("b", [1.0, None, 0.25], 1.0)])
    assert [at for at, _ in block.columns] == [0, 50, 100]
    weak, strong = block.drawn
    assert weak[:2] == ("a", "M0 100.00L50 50.00L100 0.00")
    assert strong[:2] == ("b", "M0 0.00M100 75.00")
    assert weak[2] < strong[2] == 1


def test_it_is_drawn_on_a_page_and_what_is_given_is_escaped() -> None:
    text = page("t", [Section("s", [Parallel(AXES, [("<i>", [0.0, 0.5, 1.0], 0.5)], "Settings")])])
    assert "&lt;0.9&gt;" in text
    assert "<title>&lt;i&gt;</title>" in text
    assert "<h3>Settings</h3>" in text


def test_one_axis_is_enough() -> None:
    assert Parallel(AXES[:1], [("a", [0.5], 1.0)]).drawn == [("a", "M0 50.00", 1.0)]
