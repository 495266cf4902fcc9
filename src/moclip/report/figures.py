"""Draw figures of several panels once, and write them as SVG for pages and as PDF, PNG and TSV for papers."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure as Drawing

from moclip.core.files import replace_atomically, write_tsv
from moclip.errors import MoclipError
from moclip.report.pages import TEMPLATES, read_style
from moclip.report.plots import (
    Panel,
    columns_of,
    draw_panel,
    fit_ticks,
    height_of,
    margins_of,
    measure_text,
    palette,
    shorten,
    width_of,
)

_STYLE_FILE = TEMPLATES.parent / "moclip.mplstyle"

# Sizes in the style file belong to a text of this many points, and grow with it.
_STYLE_POINTS = 12

_SIZES = (
    *("axes.labelpad", "grid.linewidth", "xtick.major.pad", "ytick.major.pad"),
    *("lines.linewidth", "lines.markersize", "lines.markeredgewidth"),
)

_NO_DATE = {"pdf": {"CreationDate": None}, "png": {"Software": None}}

# A matrix is shown on pages with cells of at least this many pixels.
_CELL_PX = 13.0


@dataclass(frozen=True, kw_only=True)
class Style:
    """Widths of a figure of one and of two columns in inches, and its text: points, and a family or nothing."""

    column_inches: float = 3.35
    page_inches: float = 7.0
    font_points: float = 7.5
    font: str = ""


STYLES: Mapping[str, Style] = {
    "paper": Style(),
    "slides": Style(column_inches=6.0, page_inches=12.0, font_points=13.0),
}

# Title, note and SVG of each panel of a figure.
Charts = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels that belong together. `name` is that of its files."""

    name: str
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The part of a drawing that a panel has without its title, in points from the lower left: x, y, width, height."""

    axes: Axes
    box: tuple[float, float, float, float]
    tips: Mapping[str, Sequence[str]]


def check_font(name: str) -> None:
    """Raise MoclipError if the machine has no font of this name."""
    try:
        font_manager.findfont(name, fallback_to_default=False)
    except ValueError:
        raise MoclipError(
            f"--font: expected an installed font, found {name!r}; `fc-list : family` lists them"
        ) from None


def draw_figures(
    figures: Sequence[Figure], *, style: Style | None = None, folder: Path | None = None
) -> dict[str, Charts]:
    """Draw each figure once, and return its panels as SVG by its name; the text and the colors are those of the page.

    With a `folder`, also write `NAME.pdf`, `NAME.png` and the numbers as `NAME.tsv`. Equal figures give equal bytes.
    """
    charts = {}
    with use_style(style or Style()):
        for figure in figures:
            mpl.rcParams["svg.hashsalt"] = f"moclip {figure.name}"
            drawing, cells = lay_out(figure, style=style or Style())
            if folder:
                _write_files(folder, figure=figure, drawing=drawing)
            charts[figure.name] = _cut_svg(_save_svg(drawing), figure=figure, cells=cells) if cells else []
    return charts


def _write_files(folder: Path, *, figure: Figure, drawing: Drawing) -> None:
    for suffix in ("png", "pdf"):
        with replace_atomically(folder / f"{figure.name}.{suffix}") as temporary:
            drawing.savefig(temporary, format=suffix, metadata=_NO_DATE[suffix], facecolor="white")
    rows = [{"panel": panel.title, **row} for panel in figure.panels for row in panel.rows]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["panel"]
    write_tsv(folder / f"{figure.name}.tsv", header=names, rows=[[row.get(name) for name in names] for row in rows])


def write_svg(path: Path, *, figure: Figure) -> None:
    """Write all panels as one SVG document in light and dark."""
    with use_style(Style()):
        mpl.rcParams["svg.hashsalt"] = f"moclip {figure.name}"
        drawing, _ = lay_out(figure, style=Style())
        root = _clean(_save_svg(drawing))
    colors = ElementTree.Element("style")
    colors.text = read_style().partition("* {")[0]
    root.insert(0, colors)
    box = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": figure.title}
    root.attrib = {"xmlns": "http://www.w3.org/2000/svg", "font-family": "system-ui, sans-serif", **box}
    with replace_atomically(path) as temporary:
        temporary.write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def use_style(style: Style) -> Any:
    """Return a context in which matplotlib draws with the style file, at the sizes of a style."""
    base: Any = mpl.rc_params_from_file(_STYLE_FILE, use_default_template=False)
    sizes: Any = {name: style.font_points / _STYLE_POINTS * base[name] for name in _SIZES}
    font: Any = {"font.size": style.font_points, "font.family": [*([style.font] if style.font else []), "DejaVu Sans"]}
    return mpl.rc_context({**mpl.rcParamsDefault, **base, **sizes, **font})


def lay_out(figure: Figure, *, style: Style) -> tuple[Drawing, list[Cell]]:
    """Return a drawing of a figure and the cells of its panels. Texts are measured, so that none leaves its cell."""
    panels, em = figure.panels, style.font_points
    columns = min(len(panels), max(map(columns_of, panels), default=1)) or 1
    is_wide = columns > 1 or any(columns_of(panel) == 1 and panel.kind == "heatmap" for panel in panels)
    inches = style.page_inches if is_wide else style.column_inches
    width = (72 * inches - (columns - 1) * em) / columns
    drawing = Drawing(figsize=(inches, 1), dpi=72, facecolor="none")
    cells, tops, top = [], [], 0.0
    for start in range(0, len(panels), columns):
        row = [_draw_cell(drawing, panel, width=width) for panel in panels[start : start + columns]]
        head = max(len(lines) for _, _, lines, _ in row) * 1.35 * em
        legend = max(legend for *_, legend in row)
        height = max(height_of(panel, width=width) for panel in panels[start : start + columns]) + legend
        cells += row
        tops += [(top, head, height)] * len(row)
        top += head + height + em
    total = max(top - em, 4 * em)
    drawing.set_size_inches(inches, total / 72)
    placed = []
    for number, ((axes, tips, lines, legend), (top, head, height)) in enumerate(zip(cells, tops, strict=True)):
        x = number % columns * (width + em)
        y = total - top - head - height
        drawing.text(x / 72 / inches, 1 - top / total, "\n".join(lines), va="top", linespacing=1.2)
        _place(axes, panels[number], box=(x, y, width, height), legend=legend)
        placed.append(Cell(axes=axes, box=(x, y, width, height), tips=tips))
    if not panels:
        drawing.text(0.5, 0.5, shorten(f"{figure.title}: nothing to draw", room=width), ha="center")
    return drawing, placed


def _draw_cell(
    drawing: Drawing, panel: Panel, *, width: float
) -> tuple[Axes, dict[str, Sequence[str]], list[str], float]:
    # The axes with their marks, the words for these, the lines of the title, and the height of the legend.
    axes = drawing.add_axes((0.3, 0.3, 0.4, 0.4), label=str(len(drawing.axes)))
    axes.set_gid(f"panel-{len(drawing.axes) - 1}")
    tips: dict[str, Sequence[str]] = {}
    for artist, words in draw_panel(axes, panel, width=width):
        artist.set_gid(f"tip-{len(drawing.axes)}-{len(tips)}")
        tips[f"tip-{len(drawing.axes)}-{len(tips)}"] = words
    for artist in axes.get_children():
        artist.set_clip_on(False)
    lines = wrap(" ".join((panel.title, panel.note)).strip(), width=width)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if not handles:
        return axes, tips, lines, 0.0
    em: Any = mpl.rcParams["font.size"]
    room = 3 * em
    columns = max(1, min(len(handles), int(width / (max(map(width_of, handles)) + room))))
    names = [shorten(name, room=width / columns - room) for name in handles]
    axes.legend(handles.values(), names, ncols=columns, borderaxespad=0, borderpad=0, columnspacing=1, labelspacing=0.3)
    return axes, tips, lines, (1.3 * math.ceil(len(handles) / columns) + 0.6) * em


def wrap(text: str, *, width: float) -> list[str]:
    """Return a text in lines of at most `width` points."""
    lines: list[str] = []
    for word in text.split():
        if lines and width_of(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, room=width))
    return lines


def _place(axes: Axes, panel: Panel, *, box: tuple[float, float, float, float], legend: float) -> None:
    drawing: Any = axes.figure
    size, (x, y, width, height) = 72 * drawing.get_size_inches(), box
    if shown := axes.get_legend():
        shown.set_loc("upper left")
        shown.set_bbox_to_anchor((x / size[0], (y + height) / size[1]), transform=drawing.transFigure)
    left, below, right, above = margins_of(axes, panel, width=width)
    inside = (x + left, y + below, width - left - right, height - legend - below - above)
    axes.set_position((inside[0] / size[0], inside[1] / size[1], inside[2] / size[0], inside[3] / size[1]))
    fit_ticks(axes)
    label = axes.xaxis.label  # centered below the axes, unless it would leave the cell
    label.set_text(shorten(label.get_text(), room=width))
    half = width_of(label.get_text()) / 2
    middle = min(max(x + left + inside[2] / 2, x + half), x + width - half)
    label.set_x((middle - inside[0]) / inside[2])


class _Renderer(RendererSVG):
    """The renderer of SVG, which measures a text once: a report has the same names in many charts."""

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        del ismath
        return measure_text(s, prop.get_size_in_points(), tuple(prop.get_family()))


def _save_svg(drawing: Drawing) -> str:
    file = io.StringIO()
    width, height = (72 * float(side) for side in drawing.get_size_inches())
    renderer: Any = _Renderer(width, height, file, metadata={"Date": None})  # type: ignore[no-untyped-call]
    drawing.draw(renderer)
    renderer.finalize()
    return file.getvalue()


def _cut_svg(text: str, *, figure: Figure, cells: Sequence[Cell]) -> Charts:
    """Return each panel of a drawing as an SVG, whose marks have the words of its tips."""
    root = _clean(text)
    total = float(root.attrib["viewBox"].split()[3])
    found = {element.get("id", ""): element for element in root.iter() if element.get("id")}
    charts = []
    for number, (panel, cell) in enumerate(zip(figure.panels, cells, strict=True)):
        group = found[f"panel-{number}"]
        for name, words in cell.tips.items():
            defined = {id(child) for defs in found[name].iter("defs") for child in defs}
            marks = [mark for mark in found[name].iter() if mark.tag in {"use", "path"} and id(mark) not in defined]
            for mark, line in zip(marks, words, strict=False):
                ElementTree.SubElement(mark, "title").text = line
            del found[name].attrib["id"]
        del group.attrib["id"]
        x, y, width, height = cell.box
        box = {"viewBox": f"{x:.0f} {total - y - height:.0f} {math.ceil(width)} {math.ceil(height)}"}
        svg = ElementTree.Element(
            "svg", {"class": f"chart {panel.kind}", "role": "img", "aria-label": panel.title, **box}
        )
        if panel.kind == "heatmap":
            enlarged = max(1.6, _CELL_PX / (cell.axes.bbox.width / max(1, cell.axes.get_xlim()[1])))
            svg.attrib |= {"width": f"{enlarged * width:.0f}", "height": f"{enlarged * height:.0f}"}
        svg.append(group)
        charts.append({"title": panel.title, "note": panel.note, "svg": ElementTree.tostring(svg, encoding="unicode")})
    return charts


def _clean(text: str) -> ElementTree.Element:
    """Return an SVG of matplotlib with the page's colors and font, without unused ids and spare digits."""
    root = ElementTree.fromstring(text)  # noqa: S314 (matplotlib's own text)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    names = {color: f"var(--{name})" for name, color in palette().items()}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        kept: dict[str, str] = {}
        for name, value in element.attrib.items():
            key = "href" if name.endswith("}href") else name
            is_unused = key == "id" and value not in used and value[:4] not in {"tip-", "pane"}
            if is_unused or key == "clip-path" or value.startswith("rotate(-0 "):
                continue
            short = re.sub(r"(\d\.\d)\d+", r"\1", value) if key in {"d", "x", "y"} else value
            if key == "d":
                short = re.sub(r"\s*([A-Za-z])\s*", r"\1", short)
            if key == "style":
                short = re.sub(r"#[0-9a-f]{6}", lambda color: names.get(color[0], color[0]), short)
                short = re.sub(r"font-family: [^;]*;? ?|stroke-miterlimit: [^;]*;? ?", "", short)
            kept[key] = short
        element.attrib = kept
    root[:] = [child for child in root if child.tag == "g"]
    return root
