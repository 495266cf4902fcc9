"""Figures for pages and papers: the same bytes twice, the page's colors, text as text, and nothing else."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from moclip.cli.main import main
from moclip.errors import DatasetError
from moclip.report.experiment import write_network_curve
from moclip.report.figures import STYLES, Figure, Style, draw_figures, write_svg
from moclip.report.pages import read_style
from moclip.report.plots import Panel, palette
from moclip.report.results import write_figures
from tests.unit.report.test_plots import cost, curve, make_panel, matrix, point
from tests.unit.report.test_results import made_request


def make_figure(*, num_panels: int = 1, name: str = "a $<class>$ & more") -> Figure:
    panels = [make_panel("gains", [point(name, 5, 1, 9)], title=f"Panel {number}") for number in range(num_panels)]
    return Figure(name="gains", title="Gains", panels=panels)


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        draw_figures([make_figure(num_panels=2)], folder=tmp_path / folder)
        write_svg(tmp_path / folder / "gains.svg", figure=make_figure())
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["gains.pdf", "gains.png", "gains.svg", "gains.tsv"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert draw_figures([make_figure()]) == draw_figures([make_figure()])


def test_a_chart_of_a_page_has_the_colors_and_the_font_of_the_page() -> None:
    (panel,) = draw_figures([make_figure()])["gains"]
    assert not re.search(r"#[0-9a-f]{6}|font-family|xmlns|<metadata|url\(http", panel["svg"])
    names = set(re.findall(r"var\(--([\w-]+)\)", panel["svg"]))
    assert {"motion", "ink", "muted", "line"} <= names <= set(palette())
    assert "a $&lt;class&gt;$ &amp; more" in panel["svg"]


def test_the_ids_of_all_charts_of_a_page_differ() -> None:
    panels: list[Panel] = [curve([0.5]), make_panel("scatter", [cost(1.0), cost(9.0)]), matrix([[1]], names=["A"])]
    figures = [Figure(name=name, title="x", panels=panels) for name in ("one", "two")]
    drawn = [panel for charts in draw_figures(figures).values() for panel in charts]
    found = [found for panel in drawn for found in re.findall(r' id="([^"]*)"', panel["svg"])]
    assert found
    assert len(found) == len(set(found))
    for panel in drawn:
        assert set(re.findall(r'(?:href="#|url\(#)([^")]*)["\)]', panel["svg"])) <= set(found)


@pytest.mark.parametrize(("num_panels", "inches"), [(1, 3.35), (2, 7.0), (5, 7.0)])
def test_a_figure_fits_the_columns_of_a_paper(tmp_path: Path, num_panels: int, inches: float) -> None:
    draw_figures([make_figure(num_panels=num_panels)], folder=tmp_path)
    with Image.open(tmp_path / "gains.png") as image:
        assert image.width == pytest.approx(300 * inches, abs=1)
    pdf = (tmp_path / "gains.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)[1]) == pytest.approx(72 * inches, abs=0.1)  # type: ignore[index]


def test_a_matrix_of_a_hundred_and_one_classes_fits_a_page(tmp_path: Path) -> None:
    names = [f"ClassOfALongName{index}" for index in range(101)]
    panel = matrix(np.eye(101, dtype=int), names=names)
    draw_figures([Figure(name="m", title="m", panels=[panel])], folder=tmp_path)
    with Image.open(tmp_path / "m.png") as image:
        assert image.width == 2100
        assert image.height <= 2700


def test_the_numbers_are_stored_beside_the_figure(tmp_path: Path) -> None:
    draw_figures([make_figure(num_panels=2)], style=Style(), folder=tmp_path)
    with (tmp_path / "gains.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    assert [row["panel"] for row in rows] == ["Panel 0", "Panel 1"]
    assert (rows[0]["points"], rows[0]["low"], rows[0]["high"]) == ("5", "1", "9")


def test_a_figure_without_panels_says_that_there_is_nothing(tmp_path: Path) -> None:
    draw_figures([Figure(name="none", title="Gains", panels=())], folder=tmp_path)
    assert (tmp_path / "none.tsv").read_text() == "panel\n"
    assert (tmp_path / "none.pdf").stat().st_size > 1000


def test_the_curve_of_a_network_is_a_document_in_light_and_dark(tmp_path: Path) -> None:
    history = tmp_path / "history.tsv"
    lines = [
        "epoch\ttrain_loss\tval_loss\ttrain_top_1\tval_top_1\tchosen",
        "1\t1.0\t0.9\t0.2\t0.3\t0",
        "2\t0.8\t\t0.4\t\t1",
    ]
    history.write_text("\n".join(lines) + "\n")
    write_network_curve(tmp_path / "curve.svg", history=history, title="a < b")
    root = ElementTree.parse(tmp_path / "curve.svg").getroot()  # noqa: S314 (our own text)
    assert root.get("aria-label") == "a < b, epoch 2 kept"
    text = (tmp_path / "curve.svg").read_text()
    assert "prefers-color-scheme: dark" in text
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Loss", "Top-1 accuracy", "epoch"} <= words
    history.write_text("no\thistory\n")
    with pytest.raises(DatasetError, match=r"history\.tsv"):
        write_network_curve(tmp_path / "curve.svg", history=history, title="x")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--points", "1"], "--points: expected 3 to 72, found 1"),
        (["--column", "99"], "--column: expected 1 to 40, found 99"),
        (["--font", "No Such Font"], "--font: expected an installed font, found 'No Such Font'"),
        (["--style", "poster"], "expected one of paper, slides; found"),
        ([], "summary.tsv"),
        (["--output", "RESULTS/figures"], "belongs to the workflow"),
    ],
)
def test_bad_input_of_the_command_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["figures", str(tmp_path), *(option.replace("RESULTS", str(tmp_path)) for option in options)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1


def test_the_figures_of_finished_results_are_drawn_again(tmp_path: Path) -> None:
    made_request(tmp_path / "results", grids={"main": ([1], [0])})
    results = tmp_path / "results"
    results.joinpath("gains.tsv").rename(results / "class_gains.tsv")
    for place in results.glob("main/split-*/seed-*"):
        moved = results / "experiments" / place.relative_to(results)
        moved.parent.mkdir(parents=True, exist_ok=True)
        place.rename(moved)
        moved.joinpath("history.tsv").rename(moved.parent / "history.tsv")
    names = write_figures(tmp_path / "out", results=results, style=STYLES["slides"])
    kinds = ("gains", "classes", "confusion", "reliability", "heads")
    assert names == ["comparisons", "costs", *(f"{kind}-main" for kind in kinds)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{suffix}" for name in names for suffix in ("pdf", "png", "tsv")
    }


def luminance(color: str) -> float:
    """The relative luminance of a color such as #1d5fd1, as WCAG 2 defines it."""
    shares = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", "fusion", "appearance", "motion", "zero", "miss", "shuffled"])
def test_words_have_enough_contrast_on_pages_and_cards(scheme: int, name: str) -> None:
    colors = [dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in read_style().split("@media", 2)[:2]]
    for ground in ("page", "card"):
        bright, dim = sorted((luminance(colors[scheme][key]) for key in (name, ground)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_the_title_of_a_panel_is_above_its_legend(tmp_path: Path) -> None:
    panel = make_panel("curves", curve([0.5, 0.6]).rows, title="Title")
    write_svg(tmp_path / "x.svg", figure=Figure(name="x", title="x", panels=[panel]))
    root = ElementTree.parse(tmp_path / "x.svg").getroot()  # noqa: S314 (our own text)
    places = {text.text: float(text.attrib["y"]) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert places["Title"] < places["a line"] - 8
