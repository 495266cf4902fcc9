"""Figures of several panels: SVG for pages in the colors of the style sheet, PDF, PNG and numbers for papers."""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from moclip.core.files import replace_atomically
from moclip.errors import MoclipError
from moclip.report.pages import TEMPLATES, read_style

PANEL_WIDTH = 420.0

_STYLE_FILE = TEMPLATES.parent / "moclip.mplstyle"

# What is measured in points, and grows with the text.
_SIZES = (
    *("font.size", "axes.labelpad", "grid.linewidth", "xtick.major.pad", "ytick.major.pad"),
    *("lines.linewidth", "lines.markersize", "lines.markeredgewidth"),
)

_NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}

_MAX_HEIGHT_INCHES = 9.0


@dataclass(frozen=True, kw_only=True)
class Style:
    """Widths of a figure of one and of two columns in inches, and its text: points, and a family or nothing."""

    column_inches: float = PANEL_WIDTH / 72
    page_inches: float = 2 * PANEL_WIDTH / 72
    font_points: float = 12.0
    font: str = ""


STYLES: Mapping[str, Style] = {
    "paper": Style(column_inches=3.35, page_inches=7.0, font_points=7.5),
    "slides": Style(column_inches=6.0, page_inches=12.0, font_points=13.0),
}


@dataclass(frozen=True)
class Canvas:
    """The axes of a panel, and the words that a page shows on its marks, by the id of the marks."""

    axes: Axes
    tips: dict[str, list[str]] = field(default_factory=dict)

    def tip(self, artist: Artist, words: Sequence[str]) -> None:
        """Note the words for the marks of an artist, one for each."""
        artist.set_gid(f"tip-{len(self.tips)}")
        self.tips[f"tip-{len(self.tips)}"] = list(words)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart: its title and note, the class name of its SVG, its function, its numbers, its size in points."""

    title: str
    kind: str
    draw: Callable[[Canvas], None]
    rows: Sequence[Mapping[str, object]]
    note: str = ""
    width: float = PANEL_WIDTH
    height: float = 230.0


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels that belong together. `name` is that of its files."""

    name: str
    title: str
    panels: Sequence[Panel]


def check_font(name: str) -> None:
    """Raise MoclipError if the machine has no font of this name."""
    try:
        font_manager.findfont(name, fallback_to_default=False)
    except ValueError:
        raise MoclipError(
            f"--font: expected an installed font, found {name!r}; `fc-list : family` lists them"
        ) from None


def write_figure(folder: Path, *, figure: Figure, style: Style) -> None:
    """Write `NAME.pdf`, `NAME.png` and the numbers as `NAME.tsv`; equal figures give equal bytes."""
    with _styled(style, salt=figure.name):
        drawing = _draw_grid(figure, style=style)
        for suffix in ("pdf", "png"):
            with replace_atomically(folder / f"{figure.name}.{suffix}") as temporary:
                drawing.savefig(temporary, format=suffix, metadata=_NO_DATE[suffix])
            drawing.set_layout_engine("none")  # the layout was computed for the first file
    rows = [{"panel": panel.title, **row} for panel in figure.panels for row in panel.rows]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["panel"]
    with replace_atomically(folder / f"{figure.name}.tsv") as temporary, temporary.open("w", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, dialect="excel-tab", lineterminator="\n", restval="")
        table.writeheader()
        table.writerows(rows)


def write_svg(path: Path, *, figure: Figure) -> None:
    """Write all panels as one SVG document in light and dark."""
    with _styled(Style(), salt=figure.name):
        drawn = _clean(_save_svg(_draw_grid(figure, style=Style())), kind="figure", title=figure.title, tips={})
    colors = ElementTree.Element("style")
    colors.text = read_style().partition("* {")[0]
    root = ElementTree.fromstring(drawn)  # noqa: S314 (drawn above)
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("font-family", "system-ui, sans-serif")
    root.insert(0, colors)
    with replace_atomically(path) as temporary:
        temporary.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def draw_svg(figure: Figure) -> list[dict[str, str]]:
    """Return title, note and SVG of each panel, to stand in a page: its text and colors are those of the page."""
    drawn = []
    for number, panel in enumerate(figure.panels):
        with _styled(Style(), salt=f"{figure.name} {number}"):
            drawing = Drawing(figsize=(panel.width / 72, panel.height / 72), facecolor="none")
            canvas = Canvas(drawing.subplots())
            panel.draw(canvas)
            svg = _clean(_save_svg(drawing), kind=panel.kind, title=panel.title, tips=canvas.tips)
        drawn.append({"title": panel.title, "note": panel.note, "svg": svg})
    return drawn


def _styled(style: Style, *, salt: str) -> Any:
    scale = style.font_points / 12
    base: Any = mpl.rc_params_from_file(_STYLE_FILE, use_default_template=False)
    sizes: Any = {name: scale * base[name] for name in _SIZES}
    font: Any = {"font.sans-serif": [style.font, "DejaVu Sans"]} if style.font else {}
    return mpl.rc_context({**mpl.rcParamsDefault, **base, **sizes, **font, "svg.hashsalt": f"moclip {salt}"})


def _draw_grid(figure: Figure, *, style: Style) -> Drawing:
    panels, scale = figure.panels, style.font_points / 12
    widest = max((panel.width for panel in panels), default=PANEL_WIDTH)
    columns = 2 if len(panels) > 1 and widest <= PANEL_WIDTH else 1
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)] or [[]]
    is_wide = columns > 1 or widest > PANEL_WIDTH
    width = style.page_inches if is_wide else style.column_inches
    heights = [max((panel.height for panel in row), default=60.0) + 24 for row in rows]
    height = min(sum(heights) * scale / 72, max(_MAX_HEIGHT_INCHES, width))
    drawing = Drawing(figsize=(width, height))
    axes = drawing.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for number, place in enumerate(axes.flat):
        if number < len(panels):
            panels[number].draw(Canvas(place))
            legend = place.get_legend()
            lines = math.ceil(len(legend.get_texts()) / 2) if legend else 0  # the legend is between title and axes
            title = " ".join((panels[number].title, panels[number].note)).strip()
            place.set_title(title, pad=style.font_points * (0.5 + 1.5 * lines))
        else:
            place.set_axis_off()
    if not panels:
        axes[0, 0].text(0.5, 0.5, f"{figure.title}: nothing to draw", ha="center", transform=axes[0, 0].transAxes)
    return drawing


def _save_svg(drawing: Drawing) -> str:
    file = io.StringIO()
    drawing.savefig(file, format="svg", metadata=_NO_DATE["svg"], transparent=True)
    return file.getvalue()


@cache
def palette() -> Mapping[str, str]:
    """Return the light color of each name in the style sheet, such as `fusion`."""
    # The dark colors come after the light ones.
    return dict(reversed(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", read_style())))


def _clean(text: str, *, kind: str, title: str, tips: Mapping[str, Sequence[str]]) -> str:
    """Return an SVG of matplotlib with the page's colors and font, without unused ids and spare digits."""
    root = ElementTree.fromstring(text)  # noqa: S314 (matplotlib's own text)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    names = {color: f"var(--{name})" for name, color in palette().items()}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    root[:] = [child for child in root if child.tag == "g"]
    defined = {id(child) for defs in root.iter("defs") for child in defs}
    for element in root.iter():
        marks = [mark for mark in element.iter() if mark.tag in {"use", "path"} and id(mark) not in defined]
        for mark, words in zip(marks, tips.get(element.get("id", ""), ()), strict=False):
            ElementTree.SubElement(mark, "title").text = words
    for element in root.iter():
        element.attrib = _clean_attributes(element.attrib, used=used, names=names)
    size = [math.ceil(float(part)) for part in root.attrib["viewBox"].split()[2:]]
    root.attrib = {"class": f"chart {kind}", "viewBox": f"0 0 {size[0]} {size[1]}", "role": "img", "aria-label": title}
    root.attrib |= {"width": f"{size[0]}", "height": f"{size[1]}"} if kind == "heatmap" else {}
    return ElementTree.tostring(root, encoding="unicode")


def _clean_attributes(found: Mapping[str, str], *, used: set[str], names: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in found.items():
        key = "href" if name.endswith("}href") else name
        if (key == "id" and value not in used) or (key == "transform" and value.startswith("rotate(-0 ")):
            continue
        short = re.sub(r"(\d\.\d)\d+", r"\1", value) if key in {"d", "x", "y"} else value
        if key == "d":
            short = re.sub(r"\s*([A-Za-z])\s*", r"\1", short)
        if key == "style":
            short = re.sub(r"#[0-9a-f]{6}", lambda color: names.get(color[0], color[0]), short)
            short = re.sub(r"font-family: [^;]*;? ?|stroke-miterlimit: [^;]*;? ?", "", short)
        kept[key] = short
    return kept
