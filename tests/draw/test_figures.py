"""Curves and matrices: what is drawn where."""

import math
import re

import pytest

from cvflow.draw import Curves, Matrix, Reliability, Section, Shares, page
from cvflow.draw.scale import log_ticks, number, short, tick_label, ticks


def curve(points, **options):
    """The one drawn line of a series."""
    return Curves("t", {"a": points}, **options).lines[0]


def html(block):
    return page("t", [Section("s", [block])])


def test_points_stand_where_their_values_say():
    assert curve([(0, 0.0), (5, 5.0), (10, 10.0)]).path == "M0 100L50 50L100 0"


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_a_gap(hole):
    line = curve([(0, 0.0), (1, 10.0), (2, hole), (3, 0.0), (4, 10.0)])
    assert line.path == "M0 100L25 0M75 100L100 0"
    assert len(line.dots) == 4
    assert "nan" not in html(Curves("t", {"a": [(0, 1.0), (1, hole), (2, 2.0)]})).lower().split("</style>")[1]


def test_a_lone_point_between_gaps_is_seen():
    assert "M50 0h0" in curve([(0, 0.0), (1, math.nan), (2, 10.0), (3, math.nan), (4, 0.0)]).path


def test_nothing_to_draw_is_said():
    for series in ({}, {"a": []}, {"a": [(0, math.nan)]}):
        assert "No points yet" in html(Curves("t", series))
    assert "No points yet" in html(Curves("t", {"a": [(0, -1.0), (1, 0.0)]}, log=True))


def test_a_constant_or_single_point_is_drawn_inside_the_box():
    for points in ([(1, 0.0)], [(3, 7.0)], [(0, 2.0), (9, 2.0)]):
        assert all(0 < y < 100 for _, y, _ in curve(points).dots)


def test_the_best_point_is_marked():
    points = [(1, 0.5), (2, 0.9), (3, math.nan), (4, 0.7)]
    assert curve(points, best={"a": "max"}).best == (33.33, pytest.approx(0, abs=1), "0.9000 at 2")
    assert curve(points, best={"a": "min"}).best[2] == "0.5000 at 1"
    assert curve(points).best is None


def test_log_axis_spreads_decades_evenly():
    plot = Curves("t", {"a": [(0, 1e-4), (1, 1e-2), (2, 1.0), (3, 0.0)]}, log=True)
    assert plot.lines[0].path == "M0 100L50 50L100 0"
    assert [label for _, label in plot.y_ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_a_log_x_axis_spreads_decades_evenly():
    plot = Curves("t", {"a": [(1e-4, 0.0), (1e-2, 5.0), (1.0, 10.0)]}, x_log=True)
    assert plot.lines[0].path == "M0 100L50 50L100 0"
    assert plot.x_ticks == [(0, "0.0001"), (25, "0.001"), (50, "0.01"), (75, "0.1"), (100, "1")]
    assert [at for at, _ in Curves("t", {"a": [(3, 0.5)]}, x_log=True).x_ticks] == pytest.approx(
        [20.75, 86.85], abs=0.1
    )


def test_many_points_are_thinned_and_peaks_stay():
    points = [(i, math.sin(i / 300)) for i in range(20_000)]
    points[7_777] = (7_777, 50.0)
    line = curve(points, best={"a": "max"})
    assert len(line.path) < 12_000
    assert line.dots == []
    assert line.best[2] == "50.00 at 7\u2009777"
    assert f"{line.best[0]:g} {line.best[1]:g}" in line.path


def test_whole_numbers_on_x_have_whole_ticks():
    labels = [label for _, label in Curves("t", {"a": [(1, 0.1), (3, 0.2)]}).x_ticks]
    assert labels == ["1", "2", "3"]


def test_matrix_cells_and_shares():
    counts, shares = Matrix(["a", "b"], [[3, 1], [0, 0]]).panels
    assert [(c.row, c.column, c.text) for c in counts.cells] == [(0, 0, "3"), (0, 1, "1")]
    assert [c.text for c in shares.cells] == [".75", ".25"]
    assert [(layer.right, layer.path) for layer in counts.layers] == [
        (False, "M1 0h1v1h-1z"),
        (True, "M0 0h1v1h-1z"),
    ]


def test_a_matrix_of_nothing_is_blank():
    matrix = Matrix(["a", "b"], [[0, 0], [0, 0]])
    assert [panel.layers for panel in matrix.panels] == [[], []]
    assert matrix.confused == []


@pytest.mark.parametrize("count", [2, 10, 20, 21, 100, 200])
def test_a_matrix_of_any_size_is_readable_and_light(count):
    values = [[90 if i == j else (i * 7 + j) % 9 // 8 for j in range(count)] for i in range(count)]
    matrix = Matrix([f"class {i}" for i in range(count)], values)
    text = html(matrix)
    drawn = sum(layer.path.count("M") for layer in matrix.panels[0].layers)
    assert drawn == sum(v > 0 for row in values for v in row)
    assert matrix.font >= 8 or not matrix.labels
    assert (text.count("class 1<") > 0) == (count <= 150)
    assert len(text) < 40_000 + 40 * drawn
    if count == 100:
        assert matrix.gutter + matrix.cell * count <= 1010, "fits a wide screen"


def test_of_a_thousand_classes_the_most_confused_are_drawn():
    values = [[0] * 1000 for _ in range(1000)]
    for i in range(1000):
        values[i][i] = 40
    for i in range(0, 1000, 10):
        values[i][i + 1] = 10
    matrix = Matrix([f"class {i}" for i in range(1000)], values)
    text = html(matrix)
    assert "The 100 of 1\u2009000 classes with the most mistakes." in text
    assert matrix.drawn == sorted([*range(0, 500, 10), *range(1, 500, 10)])
    assert ">class 491<" in text
    assert len(text) < 60_000
    assert {layer.opacity for layer in matrix.panels[1].layers if not layer.right} == {0.55}, (
        "of all 50 images of the class, a fifth"
    )


def test_the_worst_confusions_come_first():
    matrix = Matrix(["a", "b", "c"], [[5, 4, 1], [0, 5, 0], [7, 0, 7]])
    assert matrix.confused == [("c", "a", "7", "50.0"), ("a", "b", "4", "40.0"), ("a", "c", "1", "10.0")]


@pytest.mark.parametrize("values", [[[1, 2]], [[1], [2]], [[1, 2], [3]]])
def test_a_matrix_must_be_square(values):
    with pytest.raises(ValueError, match="expected 2"):
        Matrix(["a", "b"], values)


def test_the_parts_of_a_whole():
    shares = Shares({"data": 1.0, "forward": 3.0, "tracking": 0.0}, unit="s")
    assert shares.segments == [("data", 25.0, "1.000 s, 25.0 %"), ("forward", 75.0, "3.000 s, 75.0 %")]
    assert "Nothing yet" in html(Shares({}, "t"))
    assert "Nothing yet" in html(Shares({"a": 0.0}, "t"))


def test_reliability_stands_where_its_values_say():
    plot = Reliability([(0, None, None), (10, 0.3, 0.5), (0, None, None), (30, 0.9, 0.7)], 0.2)
    assert [bar[:5] for bar in plot.bars] == [(25, 25, 50, 30, 33.33), (75, 25, 70, 90, 100)]
    assert plot.bars[0].text == "confidence 30.0%: 50.0% right of 10"
    assert "surer than it is right, by 10.0%" in plot.verdict
    assert "more often right than it is sure, by 20.0%" in Reliability([(10, 0.3, 0.5)], 0.2).verdict
    assert "Nothing was measured" in html(Reliability([(0, None, None)] * 15, None))


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.61, 0.98), (-3, 12), (1e-6, 3e-6), (5, 5), (0, 0), (1, 123456), (-2, -2)]
)
def test_ticks_are_few_round_and_cover(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert found[0] <= low + 1e-12
    assert found[-1] >= high - 1e-12
    step = found[1] - found[0]
    assert re.fullmatch(r"[125]\.0+e.*", f"{step:.6e}")


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 0.4), (1, 1), (1e-5, 1), (0.02, 5), (1e-30, 1e30), (3e-4, 0.1)]
)
def test_log_ticks_are_few_and_cover(low, high):
    found = log_ticks(low, high)
    assert 2 <= len(found) <= 10
    assert found == sorted(found)
    assert found[0] <= low * (1 + 1e-9)
    assert found[-1] >= high * (1 - 1e-9)
    assert len({tick_label(v) for v in found}) == len(found)


def test_numbers_as_text():
    assert [number(v) for v in (0.97123, 12.3456, 1234.5, 1e-5, 0.0, -0.5)] == [
        "0.9712",
        "12.35",
        "1\u2009234",
        "1.00e-05",
        "0.0000",
        "-0.5000",
    ]
    assert [number(v) for v in (None, math.nan, True, "x", 1234567)] == [
        "\u2013",
        "\u2013",
        "True",
        "x",
        "1\u2009234\u2009567",
    ]
    assert [short(v) for v in (0, 3, 9999, 12_000, 3.4e6, 0.25, 1.0, 0.999, 0.001)] == [
        "0",
        "3",
        "9999",
        "12k",
        "3.4M",
        ".25",
        "1",
        ">.99",
        "<.01",
    ]
    assert [tick_label(v) for v in (0.30000000000000004, 12, 5000, 20_000, 1e-5, 0)] == [
        "0.3",
        "12",
        "5000",
        "20k",
        "1e-5",
        "0",
    ]
    assert all(
        len(short(v)) <= 4
        for v in (0.0049, 0.005, 0.994, 0.9949, 9999, 99_999, 999_999, 1e6, 5e7, 9.96e8, 2e9)
    )
