"""What the charts show, where they put it, and that it can be read."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from moclip.report.confusion import heatmap_panel
from moclip.report.figures import Figure, Panel, draw_svg
from moclip.report.plots import (
    Point,
    Row,
    Series,
    count_values,
    curves_panel,
    histogram_panel,
    moment_panel,
    reliability_panel,
    rows_panel,
    scatter_panel,
)


def draw(panel: Panel) -> ElementTree.Element:
    (drawn,) = draw_svg(Figure(name="test", title="test", panels=[panel]))
    return ElementTree.fromstring(drawn["svg"])  # noqa: S314 (our own text)


def texts_of(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


def marks_of(root: ElementTree.Element, *, color: str) -> dict[str, tuple[float, float, float, float]]:
    """The box of each mark of a color, (left, top, right, bottom) in px of the chart, by its words."""
    boxes = {}
    for element in root.iter():
        title = element.find("title")
        if title is None or f"fill: var(--{color})" not in element.get("style", ""):
            continue
        if element.tag == "use":
            x, y = float(element.attrib["x"]), float(element.attrib["y"])
            boxes[title.text or ""] = (x, y, x, y)
        else:
            numbers = np.array(re.findall(r"-?[\d.]+", element.attrib["d"]), float).reshape(-1, 2)
            boxes[title.text or ""] = (*numbers.min(axis=0), *numbers.max(axis=0))
    return boxes


def series(values: list[float], *, is_dashed: bool = False) -> Series:
    middle = np.array(values, float)
    return Series(name="a line", method="fusion", values=middle, low=middle, high=middle, is_dashed=is_dashed)


def line_of(root: ElementTree.Element) -> np.ndarray:
    """The points of the longest line of the fusion's color, (N, 2) px."""
    drawn = [
        e.attrib["d"]
        for e in root.iter("path")
        if "stroke: var(--fusion)" in e.get("style", "") and "M" in e.attrib["d"]
    ]
    lines = [np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2) for path in drawn]
    return max(lines, key=lambda line: np.ptp(line[:, 0]))


def test_a_later_epoch_is_further_right_and_a_higher_value_higher() -> None:
    line = line_of(draw(curves_panel([series([0.1, 0.5, 0.9])], title="x", is_share=True)))
    assert np.all(np.diff(line[:, 0]) > 0)
    np.testing.assert_allclose(np.diff(line[:, 1]), line[1, 1] - line[0, 1], atol=0.3)
    assert line[1, 1] < line[0, 1]


def test_an_epoch_without_a_value_is_left_out_and_ten_thousand_epochs_are_thinned() -> None:
    root = draw(curves_panel([series([np.nan, 2, 1, 2])], title="x", is_share=False))
    assert len(line_of(root)) == 3
    assert "nan" not in ElementTree.tostring(root, encoding="unicode")
    zigzag = np.tile([0.0, 1.0], 5000).tolist()
    assert len(line_of(draw(curves_panel([series(zigzag)], title="x", is_share=False)))) <= 300


def test_a_single_epoch_is_a_dot_that_can_be_seen() -> None:
    root = draw(curves_panel([series([0.5])], title="x", is_share=True))
    assert [use for use in root.iter("use") if "var(--fusion)" in use.get("style", "")]


def test_rows_are_named_valued_and_told_apart_by_their_verdict() -> None:
    rows = [
        Row(name="A", value=5.04, low=2, high=8, verdict="gain", label="first"),
        Row(name="B", value=-3, low=-8, high=2, verdict="unsure", label="second"),
    ]
    root = draw(rows_panel(rows, title="t", axis="points", bars=False))
    assert {"A", "B", "+5.0", "\N{MINUS SIGN}3.0", "points"} <= set(texts_of(root))
    right, left = marks_of(root, color="motion")["first"], marks_of(root, color="page")["second"]
    assert left[0] < right[0]
    assert right[1] < left[1]


def test_a_bar_begins_at_zero_whatever_its_sign() -> None:
    rows = [
        Row(name="A", value=10, low=None, high=None, verdict="gain", label="gain"),
        Row(name="B", value=-5, low=None, high=None, verdict="loss", label="loss"),
    ]
    root = draw(rows_panel(rows, title="t", axis="points", bars=True))
    gain, loss = marks_of(root, color="motion")["gain"], marks_of(root, color="miss")["loss"]
    assert gain[0] == pytest.approx(loss[2], abs=0.2)
    assert gain[2] - gain[0] == pytest.approx(2 * (loss[2] - loss[0]), abs=0.5)


def test_the_axis_of_costs_is_logarithmic() -> None:
    points = [
        Point(cost=cost, accuracy=0.5, half=0.1, experiment="e", method="fusion", is_faint=False)
        for cost in (1e6, 1e7, 1e8)
    ]
    root = draw(scatter_panel(points, title="t", axis="MACs a video"))
    places = [box[0] for box in marks_of(root, color="fusion").values()]
    assert len(places) == 3
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.5)
    assert {"1 M", "10 M", "100 M"} <= set(texts_of(root))


def test_a_perfectly_calibrated_bin_is_on_the_line() -> None:
    panel = reliability_panel(
        np.array([0, 8, 2]),
        confidence=np.array([0, 0.5, 0.9]),
        accuracy=np.array([0, 0.5, 0.2]),
        method="fusion",
        note="",
    )
    boxes = marks_of(draw(panel), color="fusion")
    assert set(boxes) == {
        "confidence 50 %, accuracy 50 % of 8 (80 % of all)",
        "confidence 90 %, accuracy 20 % of 2 (20 % of all)",
    }


def test_the_true_class_is_the_row_of_a_heatmap_and_cells_have_their_numbers() -> None:
    panel = heatmap_panel(np.array([[3, 1], [0, 0]]), totals=np.array([5, 0]), names=["A<", "B"], title="t")
    root = draw(panel)
    hits, misses = marks_of(root, color="fusion"), marks_of(root, color="miss")
    arrow = "\N{RIGHTWARDS ARROW}"
    assert set(hits) == {f"A< {arrow} A<: 3 of 5 (60.0 %)"}
    assert set(misses) == {f"A< {arrow} B: 1 of 5 (20.0 %)"}
    (hit,), (miss,) = hits.values(), misses.values()
    assert miss[0] > hit[2]
    assert miss[1] == pytest.approx(hit[1], abs=0.2)
    assert {"60", "20", "A<", "B"} <= set(texts_of(root))
    opacity = [e.get("style", "") for e in root.iter("path") if e.find("title") is not None]
    assert ["opacity: 0.6" in opacity[0], "opacity: 0.2" in opacity[1]] == [True, True]


def test_classes_that_are_confused_are_neighbors() -> None:
    confusion = 10 * np.eye(6, dtype=int)
    for one, other in ((0, 3), (1, 4), (2, 5)):
        confusion[one, other] = confusion[other, one] = 8
    panel = heatmap_panel(confusion, totals=confusion.sum(axis=1), names=list("abcdef"), title="t")
    order = list(dict.fromkeys(str(row["true"]) for row in panel.rows))
    assert {"".join(sorted(order[start : start + 2])) for start in (0, 2, 4)} == {"ad", "be", "cf"}


def test_a_histogram_counts_every_value_once_and_says_how_many_are_beyond() -> None:
    values = np.array([*range(100), 5000.0])
    histogram = count_values(values)
    assert sum(histogram.counts) == len(values)
    words = [*marks_of(draw(histogram_panel(histogram, title="t", unit="frames")), color="motion")]
    assert "or more: " in words[-1]
    assert not count_values(values[:-1]).is_cut


def test_the_bars_of_a_histogram_are_on_the_axis_and_a_higher_count_is_taller() -> None:
    histogram = count_values(np.array([1.0, 1.0, 2.0, 3.5]))
    boxes = [*marks_of(draw(histogram_panel(histogram, title="t", unit="s")), color="motion").values()]
    drawn = [box for box in boxes if box[3] - box[1] > 1]
    assert len({round(box[3]) for box in drawn}) == 1
    assert drawn[0][3] - drawn[0][1] == pytest.approx(2 * (drawn[1][3] - drawn[1][1]), abs=0.5)


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [1e-6, 2e-6], [1.0, 1e9], list(range(9))])
def test_any_finite_values_make_a_histogram(values: list[float]) -> None:
    histogram = count_values(np.array(values, float))
    assert sum(histogram.counts) == len(values)
    assert len(histogram.counts) <= 40
    assert marks_of(draw(histogram_panel(histogram, title="t", unit="s")), color="motion")


def test_a_moment_is_shaded_and_its_peak_marked() -> None:
    panel = moment_panel(np.arange(5.0), values=np.arange(5.0), start=1, peak=2, stop=3)
    text = ElementTree.tostring(draw(panel), encoding="unicode")
    assert "var(--fusion)" in text
    assert "var(--appearance)" in text
