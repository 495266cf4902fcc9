"""What the charts show, where they put it, and that it can be read."""

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from moclip.report.datacard_page import count_values
from moclip.report.experiment import _list_cells
from moclip.report.figures import STYLES, Figure, Style, draw_figures, lay_out, use_style
from moclip.report.plots import MARKS, Panel


def make_panel(kind: str, rows: list[dict[str, Any]], **changes: Any) -> Panel:
    return Panel(**{"title": "t", "kind": kind, "rows": rows, **changes})


def point(name: str, points: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"name": name, "points": points, "low": low, "high": high}


def cost(value: float, *, experiment: str = "e") -> dict[str, Any]:
    scores = {"top_1_percent": 50.0, "low": 40.0, "high": 60.0, "chance_percent": 10.0}
    return {"cost": value, "experiment": experiment, "method": "fusion", **scores}


def curve(values: list[float], *, subset: str = "val") -> Panel:
    names = {"line": "a line", "method": "fusion", "subset": subset}
    known = [(epoch, value) for epoch, value in enumerate(values, start=1) if np.isfinite(value)]
    rows = [{**names, "epoch": epoch, "value": value, "low": value, "high": value} for epoch, value in known]
    return make_panel("curves", rows, axis="nats")


def matrix(confusion: Any, *, names: list[str], totals: Any = None) -> Panel:
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1) if totals is None else np.asarray(totals)
    return make_panel("heatmap", _list_cells(counts, totals=totals, names=names))


def draw(panel: Panel) -> ElementTree.Element:
    (drawn,) = draw_figures([Figure(name="test", title="test", panels=[panel])])["test"]
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
    line = line_of(draw(curve([0.1, 0.5, 0.9])))
    assert np.all(np.diff(line[:, 0]) > 0)
    np.testing.assert_allclose(np.diff(line[:, 1]), line[1, 1] - line[0, 1], atol=0.3)
    assert line[1, 1] < line[0, 1]


def test_an_epoch_without_a_value_is_left_out_and_ten_thousand_epochs_are_thinned() -> None:
    root = draw(curve([np.nan, 2, 1, 2]))
    assert len(line_of(root)) == 3
    assert "nan" not in ElementTree.tostring(root, encoding="unicode")
    assert len(line_of(draw(curve(np.tile([0.0, 1.0], 5000).tolist())))) <= 300


def test_a_single_epoch_is_a_dot_that_can_be_seen() -> None:
    root = draw(curve([0.5]))
    assert [use for use in root.iter("use") if "var(--fusion)" in use.get("style", "")]


def test_rows_are_named_valued_and_told_apart_by_their_interval() -> None:
    root = draw(make_panel("intervals", [point("A", 5.04, 2, 8), point("B", -3, -8, 2)], axis="points"))
    assert {"A", "B", "+5.0", "\N{MINUS SIGN}3.0", "points"} <= set(texts_of(root))
    right = marks_of(root, color="motion")["A: +5.0 (+2.0 to +8.0)"]
    left = marks_of(root, color="page")["B: \N{MINUS SIGN}3.0 (\N{MINUS SIGN}8.0 to +2.0)"]
    assert left[0] < right[0]
    assert right[1] < left[1]


def test_a_bar_begins_at_zero_whatever_its_sign_and_is_gray_where_chance_may_have_made_it() -> None:
    rows = [point("A", 10, 5, 15), point("B", -5, -9, -1), point("C", 4, -1, 9), point("D", 4.2)]
    root = draw(make_panel("gains", rows, axis="points"))
    (gain,), (loss,) = (marks_of(root, color=color).values() for color in ("motion", "miss"))
    assert gain[0] == pytest.approx(loss[2], abs=0.2)
    assert gain[2] - gain[0] == pytest.approx(2 * (loss[2] - loss[0]), abs=0.5)
    assert [words[0] for words in marks_of(root, color="zero")] == ["C", "D"]


def test_the_axis_of_costs_is_logarithmic_and_shows_chance() -> None:
    root = draw(make_panel("scatter", [cost(1e6), cost(1e7), cost(1e8)], axis="MACs a video"))
    places = [box[0] for box in marks_of(root, color="fusion").values()]
    assert len(places) == 3
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.5)
    assert {"1 M", "10 M", "100 M", "Chance"} <= set(texts_of(root))


def test_a_perfectly_calibrated_bin_is_on_the_line() -> None:
    names = ("method", "from_percent", "to_percent", "videos", "confidence_percent", "accuracy_percent")
    bins = [("fusion", 33, 66, 8, 50.0, 50.0), ("fusion", 66, 99, 2, 90.0, 20.0)]
    boxes = marks_of(
        draw(make_panel("reliability", [dict(zip(names, row, strict=True)) for row in bins])), color="fusion"
    )
    assert set(boxes) == {
        "confidence 50 %, accuracy 50 % of 8 (80 % of all)",
        "confidence 90 %, accuracy 20 % of 2 (20 % of all)",
    }


def test_the_true_class_is_the_row_of_a_heatmap_and_cells_have_their_numbers() -> None:
    root = draw(matrix([[3, 1], [0, 0]], totals=[5, 0], names=["A<", "B"]))
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
    order = list(dict.fromkeys(str(row["true"]) for row in matrix(confusion, names=list("abcdef")).rows))
    assert {"".join(sorted(order[start : start + 2])) for start in (0, 2, 4)} == {"ad", "be", "cf"}


def test_a_histogram_counts_every_value_once_and_says_how_many_are_beyond() -> None:
    values = np.array([*range(100), 5000.0])
    rows = count_values(values)
    assert sum(row["count"] for row in rows) == len(values)
    words = [*marks_of(draw(make_panel("histogram", rows, axis="frames")), color="motion")]
    assert "or more: " in words[-1]
    assert count_values(values[:-1])[-1]["to"] is not None


def test_the_bars_of_a_histogram_are_on_the_axis_and_a_higher_count_is_taller() -> None:
    rows = count_values(np.array([1.0, 1.0, 2.0, 3.5]))
    boxes = [*marks_of(draw(make_panel("histogram", rows, axis="s")), color="motion").values()]
    drawn = [box for box in boxes if box[3] - box[1] > 1]
    assert len({round(box[3]) for box in drawn}) == 1
    assert drawn[0][3] - drawn[0][1] == pytest.approx(2 * (drawn[1][3] - drawn[1][1]), abs=0.5)


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [1e-6, 2e-6], [1.0, 1e9], list(range(9))])
def test_any_finite_values_make_a_histogram(values: list[float]) -> None:
    rows = count_values(np.array(values, float))
    assert sum(row["count"] for row in rows) == len(values)
    assert len(rows) <= 40
    assert marks_of(draw(make_panel("histogram", rows, axis="s")), color="motion")


def test_a_moment_is_shaded_and_its_peak_marked() -> None:
    rows = [{"seconds": float(time), "value": float(time), "within": 1 <= time <= 3} for time in range(5)]
    text = ElementTree.tostring(draw(make_panel("moment", rows)), encoding="unicode")
    assert "var(--fusion)" in text
    assert "var(--appearance)" in text


LONG = "a name of a class that is far too long for any chart, and has wide letters: WWWWWWWW"


def panels_of_every_kind() -> list[Panel]:
    names = [LONG, "Balance beam", "i", *(f"class {n}" for n in range(9))]
    shares = {"zero_shot_percent": 10.0, "motion_percent": 0.0, "appearance_percent": 100.0, "fusion_percent": 50.0}
    bins = {"method": "shuffled_motion", "videos": 7, "confidence_percent": 50.0, "accuracy_percent": 40.0}
    lines = [
        {"line": f"{name}, validation", "method": "fusion", "subset": "val", "epoch": epoch,
         "value": 90.0, "low": 80.0, "high": 99.0}
        for name in (LONG, "Fusion", "Zero-shot + head") for epoch in (1, 200)
    ]  # fmt: skip
    gains = [point(name, -71.0, -80.0, -3.0) for name in names]
    costs = [{**cost(value), "method": method} for value in (1e3, 3e9) for method in MARKS]
    bins = {**bins, "from_percent": 40.0, "to_percent": 60.0}
    return [
        make_panel("intervals", [point(name, 71.0, -80.0, 80.0) for name in names], axis="difference in top-1, points"),
        make_panel("gains", gains, axis="gain, points of accuracy", title=LONG),
        make_panel("scatter", costs, axis="milliseconds a video"),
        make_panel("reliability", [bins], title="Fusion, motion shuffled", note="ECE 10.0 %"),
        make_panel("curves", lines, axis="%"),
        make_panel("histogram", count_values(np.array([*range(100), 123456.0])), axis="frames a second of the video"),
        make_panel("classes", [{"class": name, "videos": 3, **shares} for name in names]),
        matrix(np.full((12, 12), 3), names=names),
        matrix(np.eye(60, dtype=int), names=[f"{n} {LONG}"[:30] for n in range(60)]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "style",
    [
        STYLES["paper"],
        STYLES["slides"],
        Style(font="DejaVu Serif"),
        Style(font="DejaVu Sans Mono"),
        Style(font_points=11),
        Style(font="DejaVu Sans Mono", font_points=10),
    ],
    ids=["paper", "slides", "serif", "mono", "larger", "larger mono"],
)
def test_no_text_of_any_chart_leaves_its_cell_or_lies_on_another(style: Style) -> None:
    every = panels_of_every_kind()
    figures = [[panel] for panel in every] + [every[:4], [every[3]] * 8, every[4:7]]
    with use_style(style):
        for panels in figures:
            drawing, cells = lay_out(Figure(name="x", title="x", panels=panels), style=style)
            check_texts(drawing, cells)


def check_texts(drawing: Any, cells: Any) -> None:
    """By the extents of the Agg renderer, which is not the one that measured them: half a point is lost to rounding."""
    drawing.set_dpi(288)
    renderer = FigureCanvasAgg(drawing).get_renderer()
    drawing.draw(renderer)
    titles = [text.get_window_extent(renderer) for text in drawing.texts]
    for text, box in [(text, text.get_window_extent(renderer)) for text in list_texts(drawing)]:
        assert (box.x0 > -8, box.y0 > -8) == (True, True), text
        assert (box.x1 < drawing.bbox.width + 8, box.y1 < drawing.bbox.height + 8) == (True, True), text
    for cell in cells:
        x, y, width, height = (4 * part for part in cell.box)
        own = list_texts(cell.axes)
        extents = [text.get_window_extent(renderer) for text in own]
        for text, box in zip(own, extents, strict=True):
            assert (box.x0 > x - 8, box.x1 < x + width + 8) == (True, True), (text, box, cell.box)
            assert (box.y0 > y - 8, box.y1 < y + height + 8) == (True, True), (text, box, cell.box)
        for (text, box), (other, another) in itertools.combinations(zip(own, extents, strict=True), 2):
            if not (text.get_rotation() or other.get_rotation()):
                assert not meet(box, another), (text, other)
            assert not any(meet(box, title) for title in titles), text


def list_texts(artist: Any) -> list[Text]:
    """The texts that are drawn; an axis also has labels of ticks outside of its limits, which are not."""
    ticks = [(axis.get_view_interval(), tick) for axis in artist.findobj(Axis) for tick in axis.get_major_ticks()]
    hidden = {tick.label1 for limits, tick in ticks if not min(limits) <= tick.get_loc() <= max(limits)}
    return [text for text in artist.findobj(Text) if text.get_text() and text.get_visible() and text not in hidden]


def meet(one: Any, other: Any) -> bool:
    return bool(min(one.x1, other.x1) - max(one.x0, other.x0) > 4 and min(one.y1, other.y1) - max(one.y0, other.y0) > 4)


def test_a_text_that_is_placed_without_measuring_is_found_out() -> None:
    panel = make_panel("intervals", [point("appearance", 5.0, 1.0, 9.0)], axis="points")
    with use_style(Style(font_points=11)):
        drawing, cells = lay_out(Figure(name="x", title="x", panels=[panel]), style=Style(font_points=11))
        cells[0].axes.set_position((0.1, 0.4, 0.8, 0.4))
        with pytest.raises(AssertionError, match="appearance"):
            check_texts(drawing, cells)
