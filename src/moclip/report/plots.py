"""The kinds of charts. Each one draws the rows of a panel, which are also stored as its numbers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from moclip.report.pages import label_of, read_colors, short_number, signed

Rows = Sequence[Mapping[str, Any]]

# The marks of a chart, and the words that a page shows for each of them.
Tips = Iterator[tuple[Artist, Sequence[str]]]

# Methods differ in shape and color, so that charts can be read without colors: color, marker, filled.
MARKS: Mapping[str, tuple[str, str, bool]] = {
    "zero_shot": ("zero", "o", False),
    "zero_shot_head": ("zero", "X", True),
    "motion": ("motion", "^", True),
    "motion_head": ("motion", "^", False),
    "appearance": ("appearance", "s", True),
    "appearance_ridge": ("appearance", "P", True),
    "shuffled_frames": ("shuffled", "D", False),
    "shuffled_motion": ("shuffled", "D", True),
    "score_fusion": ("fusion", "s", False),
    "ridge": ("fusion", "P", True),
    "fusion": ("fusion", "o", True),
}

_OTHER_MARK = ("ink", "o", True)

# Shares of the width of a panel that names of rows and of classes may take.
_NAMES, _CLASS_NAMES = 0.4, 0.2

_MAX_POINTS, _MAX_NUMBERED_CELLS = 300, 12
ROUND_STEPS = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart: its title, a note, the kind of chart, the label of its axis, and its rows."""

    title: str
    kind: str
    rows: Rows
    axis: str = ""
    note: str = ""


def draw_panel(axes: Axes, panel: Panel, *, width: float) -> Tips:
    """Draw a panel that is `width` points wide, and yield its marks with the words for each of them."""
    return _KINDS[panel.kind][0](axes, panel, width)


def height_of(panel: Panel, *, width: float) -> float:
    """Return the height of a panel in points, without title and legend."""
    if panel.kind == "heatmap":
        names = _classes_of(panel)
        cell, font = _size_cells(names, width=width)
        return cell * len(names) + 0.8 * max(map(width_of, names), default=0) * font / _font_size() + 2 * font
    _, fixed, each, _ = _KINDS[panel.kind]
    return _font_size() * (fixed + each * len(panel.rows))


def columns_of(panel: Panel) -> int:
    """Return the number of panels of this kind in a row of a wide figure."""
    return _KINDS[panel.kind][3]


def margins_of(axes: Axes, panel: Panel, *, width: float) -> tuple[float, float, float, float]:
    """Return the room for texts around the axes of a drawn panel, in points: left, below, right, above."""
    em = _font_size()
    if panel.kind == "heatmap":
        cell, font = _size_cells(_classes_of(panel), width=width)
        longest = max(map(width_of, _classes_of(panel)), default=0) * font / em
        side = cell * len(_classes_of(panel))
        return longest + 0.4 * font, 0, max(width - longest - 0.4 * font - side, 0), 0.8 * longest + font
    left = _widest_tick(axes.yaxis) + 1.6 * em * bool(axes.get_ylabel()) + 0.5 * em
    right = _widest_tick(axes.xaxis) / 2
    names = [(text.get_horizontalalignment(), width_of(text.get_text()) + 0.6 * em) for text in axes.texts]
    left, right = (
        max([low, *(size for side, size in names if side == key)]) for low, key in ((left, "right"), (right, "left"))
    )
    return left, (1.5 * em if axes.axison else 0) + 1.4 * em * bool(axes.get_xlabel()), right, 0.5 * em


def _widest_tick(axis: Any) -> float:
    return max(map(width_of, axis.get_major_formatter().format_ticks(axis.get_majorticklocs())), default=0)


def fit_ticks(axes: Axes) -> None:
    """Draw fewer ticks below the axes where their labels would meet."""
    locator: Any = axes.xaxis.get_major_locator()
    for number in (4, 3, 2, 1):
        places = [(place, 0.5) for place in axes.xaxis.get_majorticklocs()]
        gaps: Any = np.diff(axes.get_xaxis_transform().transform(places)[:, 0]) if len(places) > 1 else []
        if min(gaps, default=math.inf) >= _widest_tick(axes.xaxis) + _font_size() / 3:
            break
        if isinstance(locator, ticker.LogLocator):
            locator.set_params(subs=(1,), numticks=number)
        elif isinstance(locator, ticker.MaxNLocator):
            locator.set_params(nbins=number, min_n_ticks=1)


def width_of(text: str) -> float:
    """Return the width of a line of text in points, measured in the font of the style.

    A page shows the text in a font of its reader: without a font of its own, a style has room for a wide one.
    """
    params: Any = mpl.rcParams
    family = tuple(params["font.family"])
    families = [family] if len(family) > 1 else [family, ("DejaVu Sans Mono",)]
    return max(measure_text(text, params["font.size"], one)[0] for one in families)


@cache
def measure_text(text: str, size: float, family: tuple[str, ...]) -> tuple[float, float, float]:
    """Return width, height and descent of a line of text in points."""
    found = text_to_path.get_text_width_height_descent(text, FontProperties(family=list(family), size=size), False)
    width, height, descent = map(float, found)
    return width, height, descent


def shorten(text: str, *, room: float) -> str:
    """Return a text whose end is cut off where it is wider than `room` points."""
    if width_of(text) <= room:
        return text
    kept = text
    while len(kept) > 1 and width_of(f"{kept}\N{HORIZONTAL ELLIPSIS}") > room:
        kept = kept[:-1]
    return f"{kept}\N{HORIZONTAL ELLIPSIS}"


@cache
def palette() -> Mapping[str, str]:
    """Return the light color of each name in the style sheet, such as `fusion`."""
    return read_colors()


def _font_size() -> float:
    params: Any = mpl.rcParams
    return float(params["font.size"])


def _size(name: str, share: float = 1.0) -> float:
    params: Any = mpl.rcParams
    return share * float(params[f"lines.{name}"])


def _mark(method: str) -> dict[str, Any]:
    color, marker, filled = MARKS.get(method, _OTHER_MARK)
    ink = palette()[color]
    return {"marker": marker, "edgecolor": ink, "facecolor": ink if filled else palette()["page"],
            "s": _size("markersize") ** 2, "zorder": 3, "label": label_of(method)}  # fmt: skip


def _ink_of(method: str) -> str:
    return palette()[MARKS.get(method, _OTHER_MARK)[0]]


def _name_rows(axes: Axes, names: Sequence[str], *, width: float, values: Sequence[str] = ()) -> NDArray[np.int64]:
    # Texts, since a tick is five artists and takes five times as long.
    places = np.arange(len(names))[::-1]
    for sign, words in ((-1, [shorten(name, room=_NAMES * width) for name in names]), (1, values)):
        gap = ScaledTranslation(sign * _font_size() / 144, 0, axes.figure.dpi_scale_trans)
        for place, word in zip(places, words, strict=False):
            axes.text((sign + 1) / 2, place, word, transform=axes.get_yaxis_transform() + gap, va="center",
                      ha="right" if sign < 0 else "left", color=palette()["ink"])  # fmt: skip
    axes.set(yticks=[], ylim=(-0.6, len(names) - 0.4))
    return places


def _boxes(axes: Axes, left: Any, bottom: Any, width: Any, height: Any, **style: Any) -> PolyCollection:
    # One artist for all bars or cells: matplotlib's own bars take ten times as long.
    left, bottom, width, height = np.broadcast_arrays(
        *(np.asarray(part, float) for part in (left, bottom, width, height))
    )
    x, y = [left, left + width, left + width, left], [bottom, bottom, bottom + height, bottom + height]
    boxes = PolyCollection(list(np.stack([x, y]).T.reshape(-1, 4, 2)), **style)
    axes.add_collection(boxes)
    axes.autoscale_view()
    return boxes


def _draw_points(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw a line for each row over an axis of points through 0: a bar from 0 or a dot, and its interval."""
    rows, is_bar = panel.rows, panel.kind == "gains"
    points = np.array([row["points"] for row in rows])
    places = _name_rows(axes, [row["name"] for row in rows], width=width, values=[*map(signed, points)])
    axes.axvline(0, color=palette()["muted"], linewidth=_size("linewidth", 0.55), zorder=1)
    verdicts = [judge(row["points"], row["low"], row["high"]) for row in rows]
    colors = [palette()[{"gain": "motion", "loss": "miss", "unsure": "zero"}[verdict]] for verdict in verdicts]
    known = [(row["low"], row["high"], place, color) for row, place, color in zip(rows, places, colors, strict=True)
             if row["low"] is not None]  # fmt: skip
    if known:
        low, high, place, inks = zip(*known, strict=True)
        style: dict[str, Any] = {"colors": palette()["ink"] if is_bar else inks, "zorder": 3}
        axes.hlines(place, low, high, linewidth=_size("linewidth", 0.5 if is_bar else 1), **style)
        for ends in (low, high):
            axes.vlines(ends, np.subtract(place, 0.17), np.add(place, 0.17), linewidth=_size("linewidth", 0.6), **style)
    if is_bar:
        marks: Artist = _boxes(axes, 0, places - 0.3, points, 0.6, facecolors=colors, zorder=2)
    else:
        faces = [
            palette()["page"] if verdict == "unsure" else color for verdict, color in zip(verdicts, colors, strict=True)
        ]
        marks = axes.scatter(points, places, s=_size("markersize") ** 2, color=faces, edgecolor=colors, zorder=4)
    yield (
        marks,
        [
            f"{row['name']}: {signed(row['points'])}"
            + (f" ({signed(row['low'])} to {signed(row['high'])})" if row["low"] is not None else "")
            for row in rows
        ],
    )
    axes.grid(visible=False, axis="y")
    least, most = axes.get_xlim()
    axes.set(xlim=(min(least, -0.5), max(most, 0.5)), ylim=(-0.6, len(rows) - 0.4), xlabel=panel.axis)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=ROUND_STEPS))
    axes.xaxis.set_major_formatter(lambda value, _: signed(value).removesuffix(".0") if value else "0")


def judge(points: float, low: float | None, high: float | None) -> str:
    """Return `gain`, `loss`, or `unsure` where the interval has 0 in it or there is none."""
    if low is None or high is None or low <= 0 <= high:
        return "unsure"
    return "gain" if points > 0 else "loss"


def _draw_scatter(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw accuracy over a cost, with intervals; rows after the first experiment's are faint and below it."""
    first = panel.rows[0]["experiment"]
    for row in reversed(panel.rows):
        alpha = 1 if row["experiment"] == first else 0.38
        if row["low"] is not None and row["experiment"] == first:
            style: dict[str, Any] = {"color": _ink_of(row["method"]), "linewidth": _size("linewidth", 0.7)}
            axes.plot([row["cost"]] * 2, [row["low"], row["high"]], alpha=0.55, **style)
        mark = axes.scatter(row["cost"], row["top_1_percent"], alpha=alpha, **_mark(row["method"]))
        words = f"{row['experiment']}, {label_of(row['method'])}: {row['top_1_percent']:.1f} %"
        yield mark, [f"{words}, {short_number(row['cost'])}"]
    chance = max(row["chance_percent"] for row in panel.rows)
    axes.axhline(chance, color=palette()["muted"], linewidth=_size("linewidth", 0.55), dashes=(4, 4), label="Chance")
    axes.set_xscale("log")
    low, high = (math.log10(choose(row["cost"] for row in panel.rows)) for choose in (min, max))
    pad = max(0.1 * (high - low), 0.12)
    axes.set(xlim=(10 ** (low - pad), 10 ** (high + pad)), xlabel=panel.axis, ylabel="top-1, %")
    wide = width > 25 * _font_size()
    factors = (1, 2, 5) if wide and high - low < 1.7 else (1, 3) if wide and high - low < 3 else (1,)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=factors))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=ROUND_STEPS))


def _draw_reliability(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw accuracy over confidence, the line of a perfect match, and the share of videos of each bin below it."""
    del width
    names = ("confidence_percent", "accuracy_percent", "videos", "from_percent", "to_percent")
    confidence, accuracy, videos, start, stop = (np.array([row[name] for row in panel.rows], float) for name in names)
    ink, most = _ink_of(panel.rows[0]["method"]), videos.max()
    axes.plot([0, 100], [0, 100], color=palette()["muted"], linewidth=_size("linewidth", 0.55), dashes=(4, 4))
    axes.plot(confidence, accuracy, color=ink, linewidth=_size("linewidth", 0.6), alpha=0.7)
    words = [
        f"confidence {row['confidence_percent']:.0f} %, accuracy {row['accuracy_percent']:.0f} % of {row['videos']:,} "
        f"({100 * row['videos'] / videos.sum():.0f} % of all)"
        for row in panel.rows
    ]
    areas = (_size("markersize") * (0.6 + np.sqrt(videos / most))) ** 2 / 2
    yield axes.scatter(confidence, accuracy, s=areas, color=ink, zorder=3), words
    _boxes(axes, start, -24, 0.9 * (stop - start), 18 * videos / most, facecolors=ink, alpha=0.55)
    axes.set(xlim=(-2, 102), ylim=(-25, 102), xlabel="confidence, %", ylabel="accuracy, %")
    axes.set(xticks=[0, 50, 100], yticks=[0, 50, 100])


def _draw_curves(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw the lines of the rows over epochs, each with a band from the lowest to the highest run."""
    del width
    for name in dict.fromkeys(row["line"] for row in panel.rows):
        rows = [row for row in panel.rows if row["line"] == name]
        rows = rows[:: max(1, math.ceil(len(rows) / _MAX_POINTS))]
        epoch, value, low, high = (np.array([row[key] for row in rows]) for key in ("epoch", "value", "low", "high"))
        ink = _ink_of(rows[0]["method"])
        dashes = (2.2, 1.6) if rows[0]["subset"] == "train" else ()
        axes.plot(epoch, value, color=ink, label=name, marker="o" if len(rows) == 1 else "", dashes=dashes)
        axes.fill_between(epoch, low, high, color=ink, alpha=0.13, linewidth=0)
    axes.set(ylim=(0, 102 if panel.axis == "%" else None), xlabel="epoch", ylabel=panel.axis)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=ROUND_STEPS))
    yield from ()


def _draw_histogram(axes: Axes, panel: Panel, width: float) -> Tips:
    del width
    starts, counts = ([row[name] for row in panel.rows] for name in ("from", "count"))
    step = starts[1] - starts[0] if len(starts) > 1 else panel.rows[0]["to"] - starts[0]
    ends = ["or more" if row["to"] is None else f"to {row['to']:g}" for row in panel.rows]
    words = [f"{row['from']:g} {end}: {row['count']:,}" for row, end in zip(panel.rows, ends, strict=True)]
    yield _boxes(axes, starts, 0, 0.94 * step, counts, facecolors=palette()["motion"]), words
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(panel.axis)


def _draw_classes(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw a line for each class with the accuracy of each method; the columns in per cent are those of methods."""
    places = _name_rows(axes, [row["class"] for row in panel.rows], width=width)
    for key in (key for key in panel.rows[0] if key.endswith("_percent")):
        method = key.removesuffix("_percent")
        shares = np.array([row[key] for row in panel.rows], float)
        words = [
            f"{row['class']}, {label_of(method)}: {share:.1f} %" for row, share in zip(panel.rows, shares, strict=True)
        ]
        yield axes.scatter(shares, places, **_mark(method)), words
    axes.set(xlim=(-3, 103), xlabel="accuracy, %")


def _draw_moment(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw a value over time without axes: the rows `within` the moment shaded, its highest value marked."""
    del width
    seconds, values, within = (np.array([row[name] for row in panel.rows]) for name in ("seconds", "value", "within"))
    inside = seconds[within.astype(bool)]
    axes.axvspan(inside.min(), inside.max(), color=palette()["fusion"], alpha=0.18, linewidth=0)
    axes.axvline(
        inside[values[within.astype(bool)].argmax()], color=palette()["appearance"], linewidth=_size("linewidth", 0.7)
    )
    axes.plot(seconds, values, color=palette()["fusion"], linewidth=_size("linewidth", 0.7))
    axes.margins(x=0, y=0.08)
    axes.set_axis_off()
    yield from ()


def _classes_of(panel: Panel) -> list[str]:
    return [row["true"] for row in panel.rows if row["true"] == row["predicted"]]


def _size_cells(names: Sequence[str], *, width: float) -> tuple[float, float]:
    # Width of a cell and size of the text, so that names at the left, cells, and slanted names fill the width.
    base, number = _font_size(), max(len(names), 1)
    room = 1.65 * max(map(width_of, names), default=0) + 2 * base
    cell = min((width - room) / number, 4 * base) if 0.8 * (width - room) / number >= base else 0
    cell = cell or width / (number + 0.8 * room / base)
    return cell, min(base, 0.8 * cell)


def _draw_heatmap(axes: Axes, panel: Panel, width: float) -> Tips:
    """Draw a confusion matrix: rows true, columns predicted, ink as the share of the row."""
    names = _classes_of(panel)
    place = {name: index for index, name in enumerate(names)}
    _, font = _size_cells(names, width=width)
    axes.set_facecolor(palette()["card"])
    filled = [row for row in panel.rows if row["videos"]]
    for is_hit in (True, False):
        own = [row for row in filled if (row["true"] == row["predicted"]) == is_hit]
        shares = [row["videos"] / row["of"] for row in own]
        column, line = ([place[row[key]] for row in own] for key in ("predicted", "true"))
        ink = palette()["fusion" if is_hit else "miss"]
        inks = [mpl.colors.to_rgba(ink, max(share, 0.06)) for share in shares]
        yield _boxes(axes, column, line, 0.94, 0.94, facecolors=inks), [_describe_cell(row) for row in own]
        for row, share in zip(own, shares, strict=True) if len(names) <= _MAX_NUMBERED_CELLS else ():
            axes.text(place[row["predicted"]] + 0.47, place[row["true"]] + 0.5, f"{100 * share:.0f}", ha="center",
                      va="center", fontsize=min(font, 0.8 * _font_size()),
                      color=palette()["page" if share > 0.5 else "ink"])  # fmt: skip
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0), aspect="equal", anchor="NW", xticks=[], yticks=[])
    style: dict[str, Any] = {"fontsize": font, "color": palette()["ink"]}
    for name, index in place.items():
        axes.text(-0.2, index + 0.5, name, ha="right", va="center", **style)
        axes.text(index + 0.6, -0.2, name, ha="left", va="bottom", rotation=50, rotation_mode="anchor", **style)


def _describe_cell(row: Mapping[str, Any]) -> str:
    pair = f"{row['true']} \N{RIGHTWARDS ARROW} {row['predicted']}"
    return f"{pair}: {row['videos']} of {row['of']} ({100 * row['videos'] / row['of']:.1f} %)"


# The function of each kind, its height and that of each row in sizes of the text, and panels in a row of a wide figure.
_KINDS: Mapping[str, tuple[Callable[[Axes, Panel, float], Tips], float, float, int]] = {
    "intervals": (_draw_points, 4.2, 1.7, 2),
    "gains": (_draw_points, 4.2, 1.7, 2),
    "scatter": (_draw_scatter, 24, 0, 2),
    "reliability": (_draw_reliability, 17, 0, 4),
    "curves": (_draw_curves, 18, 0, 2),
    "histogram": (_draw_histogram, 18, 0, 2),
    "classes": (_draw_classes, 4.2, 1.5, 2),
    "moment": (_draw_moment, 3.6, 0, 1),
    "heatmap": (_draw_heatmap, 0, 0, 1),
}
