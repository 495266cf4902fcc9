"""Where the charts put their ink."""

import re

import numpy as np
import pytest

from moclip.report.charts import Mark, Series, choose_ticks, heatmap, histogram, line_chart, strip


def series(values, *, low=None, high=None, name="fusion") -> Series:
    middle = np.array(values, dtype=float)
    return Series(
        name=name,
        style="fusion",
        values=middle,
        low=middle if low is None else np.array(low, dtype=float),
        high=middle if high is None else np.array(high, dtype=float),
    )


def line_of(drawn: str) -> list[tuple[float, float]]:
    points = re.search(r'class="line" points="([^"]*)"', drawn)[1]
    return [tuple(map(float, point.split(","))) for point in points.split()]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 2.37), (0, 0.004), (1, 40), (0, 9537), (1, 2)])
def test_ticks_are_few_round_evenly_spaced_and_inside_the_range(low, high):
    ticks = choose_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert low <= ticks[0] <= ticks[-1] <= high
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0])
    assert float(f"{steps[0]:.2g}") == pytest.approx(steps[0])


def test_an_empty_range_has_one_tick():
    assert choose_ticks(3, 3) == [3]


def test_a_higher_value_lies_higher_and_a_later_epoch_further_right():
    points = line_of(line_chart([series([0.1, 0.5, 0.9])], title="x", percent=True))
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[0][1] > points[1][1] > points[2][1]
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.2)


def test_every_point_of_line_and_band_lies_inside_the_picture():
    drawn = line_chart([series([2, 1, 0], low=[1, 0.5, 0], high=[7, 2, 1])], title="x", percent=False)
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())
    for points in re.findall(r'points="([^"]*)"', drawn):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_an_epoch_without_a_value_is_left_out_and_nan_is_never_written():
    drawn = line_chart([series([np.nan, 1, 2])], title="x", percent=False)
    assert len(line_of(drawn)) == 2
    assert "nan" not in drawn


def test_a_single_epoch_is_a_dot_that_can_be_seen():
    assert '<circle class="dot"' in line_chart([series([0.5])], title="x", percent=True)


def test_ten_thousand_epochs_are_thinned():
    assert len(line_of(line_chart([series(np.linspace(1, 0, 10_000))], title="x", percent=False))) <= 300


def test_all_zero_values_make_a_chart_and_no_division_by_zero():
    assert len(line_of(line_chart([series([0, 0])], title="x", percent=False))) == 2


def test_a_strip_places_marks_by_their_value_and_leaves_out_what_has_none():
    marks = [
        Mark(value=0.25, shape="ring", style="a", label="<a>"),
        Mark(value=1.0, shape="circle", style="b", label="b"),
        Mark(value=float("nan"), shape="circle", style="c", label="c"),
    ]
    drawn = strip(marks)
    assert re.findall(r'class="(.)" x="([\d.]+)%"', drawn) == [("a", "25.00"), ("b", "100.00")]
    assert "&lt;a&gt;" in drawn


def test_the_heatmap_has_a_cell_for_each_pair_that_happened_and_tells_its_numbers():
    drawn = heatmap(np.array([[3, 1], [0, 0]]), totals=np.array([5, 0]), names=["A<", "B"], title="t")
    assert drawn.count("<rect") == 3  # the frame and two cells
    assert "A&lt; \N{RIGHTWARDS ARROW} A&lt;: 3 of 5 (60.0 %)" in drawn
    assert re.findall(r'fill-opacity="([\d.]+)"', drawn) == ["0.60", "0.20"]
    assert drawn.count('class="hit"') == 1


def test_the_true_class_is_the_row_of_a_heatmap():
    drawn = heatmap(np.array([[0, 1], [0, 0]]), totals=np.array([1, 0]), names=["A", "B"], title="t")
    x, y = re.search(r'class="miss"><rect x="(\d+)" y="(\d+)"', drawn).groups()
    assert int(x) > 0
    assert int(y) == 0


def test_a_histogram_counts_every_value_once_and_says_how_many_lie_beyond():
    values = np.array([*range(100), 5000.0])
    drawn = histogram(values, title="t", unit="frames")
    counts = [int(count) for count in re.findall(r"<title>[^<]*: ([\d,]+)</title>", drawn)]
    assert sum(counts) == len(values)
    assert "or more: " in drawn
    assert "or more" not in histogram(values[:-1], title="t", unit="frames")


def test_the_bars_of_a_histogram_stand_on_the_axis_inside_the_picture_and_a_higher_count_is_taller():
    drawn = histogram(np.array([1.0, 1.0, 2.0, 3.5]), title="t", unit="s")
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawn)
    sizes = [tuple(map(float, bar)) for bar in bars]
    assert len({round(y + height, 1) for _, y, _, height in sizes}) == 1
    assert sizes[0][3] == pytest.approx(2 * sizes[1][3], abs=0.2)
    assert all(x > 0 and x + width < 420 and y > 0 for x, y, width, _ in sizes)


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [1e-6, 2e-6], [1.0, 1e9], list(range(9))])
def test_any_finite_values_make_a_histogram(values):
    drawn = histogram(np.array(values, float), title="t", unit="s")
    assert "<rect" in drawn
    assert "nan" not in drawn
