"""Panels of results: intervals, gains, cost against accuracy, reliability, learning curves, histograms."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from numpy.typing import NDArray

from moclip.report.figures import Canvas, Panel, palette
from moclip.report.pages import label_of, phrase_of, short_number, signed

Floats = NDArray[np.float64]

Counts = NDArray[np.integer]

# Methods differ by shape as well as by color, so that they are read without colors too: color, marker, filled.
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

_VERDICTS = {"gain": "motion", "loss": "miss", "unsure": "zero"}

_MAX_NAME = 24

_MAX_POINTS = 300

_NUM_STEPS = 24

_STEPS = [1, 2, 2.5, 5, 10]


def _color(name: str) -> str:
    return palette()[name]


def shorten(name: str, most: int = _MAX_NAME) -> str:
    """Return a name of at most `most` characters, the rest cut off."""
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _size(name: str, share: float = 1.0) -> float:
    params: Any = mpl.rcParams
    return share * float(params[f"lines.{name}"])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A named number in points and the bounds of its interval, or None; `verdict` is gain, loss or unsure."""

    name: str
    value: float
    low: float | None
    high: float | None
    verdict: str
    label: str


def rows_panel(rows: Sequence[Row], *, title: str, axis: str, bars: bool) -> Panel:
    """Return a line for each number over an axis of points through 0: a bar from 0, or a dot, and its interval."""

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes
        places = np.arange(len(rows))[::-1]
        axes.axvline(0, color=_color("muted"), linewidth=_size("linewidth", 0.55), zorder=1)
        for place, row in zip(places, rows, strict=True):
            color = _color(_VERDICTS[row.verdict])
            if row.low is not None and row.high is not None:
                style: dict[str, Any] = {
                    "color": _color("ink") if bars else color,
                    "linewidth": _size("linewidth", 0.5 if bars else 1),
                }
                axes.plot(
                    [row.low, row.high], [place, place], "|-", markersize=_size("markersize", 0.8), zorder=3, **style
                )
            if bars:
                canvas.tip(axes.barh(place, row.value, height=0.6, color=color, zorder=2)[0], [row.label])
            else:
                face = _color("page") if row.verdict == "unsure" else color
                area = _size("markersize") ** 2
                canvas.tip(axes.scatter(row.value, place, s=area, color=face, edgecolor=color, zorder=4), [row.label])
            axes.annotate(signed(row.value), (1, place), xycoords=("axes fraction", "data"), va="center",
                          xytext=(0.5, 0), textcoords="offset fontsize")  # fmt: skip
        axes.set_yticks(places, [shorten(row.name) for row in rows], color=_color("ink"))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(visible=False, axis="y")
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.5), max(high, 0.5))
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=_STEPS))
        axes.xaxis.set_major_formatter(lambda value, _: signed(value).removesuffix(".0") if value else "0")
        axes.set_xlabel(axis)

    numbers = [{"name": row.name, "points": row.value, "low": row.low, "high": row.high} for row in rows]
    kind = "gains" if bars else "intervals"
    return Panel(title=title, kind=kind, draw=draw, rows=numbers, height=52 + 20.0 * len(rows))


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a scatter: cost above 0, accuracy from 0 to 1 and half of its interval, or None; faint or not."""

    cost: float
    accuracy: float
    half: float | None
    experiment: str
    method: str
    is_faint: bool


def scatter_panel(points: Sequence[Point], *, title: str, axis: str) -> Panel:
    """Return accuracy over a cost on a logarithmic axis, each point with its interval; later ones are on top."""

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes
        for point in points:
            color, marker, filled = MARKS.get(point.method, _OTHER_MARK)
            alpha = 0.38 if point.is_faint else 1
            if point.half is not None:
                bounds = [100 * (point.accuracy - point.half), 100 * min(point.accuracy + point.half, 1.0)]
                axes.plot(
                    [point.cost] * 2, bounds, color=_color(color), linewidth=_size("linewidth", 0.7), alpha=0.55 * alpha
                )
            mark = axes.scatter(
                point.cost, 100 * point.accuracy, s=_size("markersize") ** 2, marker=marker, alpha=alpha, zorder=3,
                facecolor=_color(color if filled else "page"), edgecolor=_color(color), label=label_of(point.method),
            )  # fmt: skip
            words = f"{point.experiment}, {label_of(point.method)}: {100 * point.accuracy:.1f} %"
            canvas.tip(mark, [f"{words}, {short_number(point.cost)}"])
        axes.set_xscale("log")
        low, high = (math.log10(choose(point.cost for point in points)) for choose in (min, max))
        pad = max(0.1 * (high - low), 0.12)
        axes.set_xlim(10 ** (low - pad), 10 ** (high + pad))
        factors = (1, 2, 5) if high - low < 1.7 else (1, 3) if high - low < 3 else (1,)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=factors))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=_STEPS))
        axes.set(xlabel=axis, ylabel="top-1, %")
        _add_legend(canvas)

    rows = [
        {"experiment": point.experiment, "method": point.method, "cost": point.cost, "top_1": point.accuracy,
         "top_1_ci95": point.half}
        for point in points
    ]  # fmt: skip
    return Panel(title=title, kind="scatter", draw=draw, rows=rows, height=330)


def _add_legend(canvas: Canvas) -> None:
    handles, labels = canvas.axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    if shown:
        canvas.axes.legend(
            shown.values(), shown.keys(), loc="lower left", bbox_to_anchor=(-0.13, 1.0), ncols=2, borderaxespad=0.1
        )


def reliability_panel(counts: Counts, *, confidence: Floats, accuracy: Floats, method: str, note: str) -> Panel:
    """Return accuracy over confidence with the line of a perfect match, and below it the share of videos of each bin.

    Each argument is (bins,); the means of an empty bin are not drawn.
    """
    filled = np.flatnonzero(counts)
    total, most = max(1, int(counts.sum())), max(1, int(counts.max(initial=0)))

    def draw(canvas: Canvas) -> None:
        axes, color = canvas.axes, _color(MARKS.get(method, _OTHER_MARK)[0])
        axes.plot([0, 1], [0, 1], color=_color("muted"), linewidth=_size("linewidth", 0.55), dashes=(4, 4))
        axes.plot(confidence[filled], accuracy[filled], color=color, linewidth=_size("linewidth", 0.6), alpha=0.7)
        areas = (_size("markersize") * (0.6 + np.sqrt(counts[filled] / most))) ** 2 / 2
        words = [
            f"confidence {100 * confidence[b]:.0f} %, accuracy {100 * accuracy[b]:.0f} % of {int(counts[b]):,} "
            f"({100 * counts[b] / total:.0f} % of all)"
            for b in filled
        ]
        canvas.tip(axes.scatter(confidence[filled], accuracy[filled], s=areas, color=color, zorder=3), words)
        edges = np.arange(len(counts)) / len(counts)
        axes.bar(edges, 0.18 * counts / most, 0.9 / len(counts), bottom=-0.24, align="edge", color=color, alpha=0.55)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.25, 1.02), xlabel="confidence, %", ylabel="accuracy, %")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(ticker.FixedLocator([0, 0.5, 1]))
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")

    rows = [
        {"bin": f"{100 * b / len(counts):.0f} to {100 * (b + 1) / len(counts):.0f} %", "videos": int(counts[b]),
         "confidence": float(confidence[b]), "accuracy": float(accuracy[b])}
        for b in filled
    ]  # fmt: skip
    return Panel(title=label_of(method), kind="reliability", draw=draw, rows=rows, note=note, width=250, height=235)


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line: a value for each epoch from 1, (E,), nan where there is none, and the range over runs."""

    name: str
    method: str
    values: Floats
    low: Floats
    high: Floats
    is_dashed: bool = False


def curves_panel(series: Sequence[Series], *, title: str, is_share: bool) -> Panel:
    """Return the series over epochs, with a band from the lowest to the highest run. Shares are in per cent."""
    scale = 100 if is_share else 1

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes
        for one in series:
            color = _color(MARKS.get(one.method, _OTHER_MARK)[0])
            kept = np.flatnonzero(np.isfinite(one.values))
            kept = kept[:: max(1, math.ceil(len(kept) / _MAX_POINTS))]
            style: dict[str, Any] = {
                "marker": "o" if len(kept) == 1 else "",
                "dashes": (2.2, 1.6) if one.is_dashed else (),
            }
            axes.plot(kept + 1, scale * one.values[kept], color=color, label=one.name, **style)
            low, high = (scale * bound[kept] for bound in (one.low, one.high))
            axes.fill_between(kept + 1, low, high, color=color, alpha=0.13, linewidth=0)
        axes.set_ylim(0, 102 if is_share else None)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=_STEPS))
        axes.set(xlabel="epoch", ylabel="%" if is_share else "nats")
        _add_legend(canvas)

    rows = [
        {"line": one.name, "epoch": epoch + 1, "value": float(one.values[epoch]), "low": float(one.low[epoch]),
         "high": float(one.high[epoch])}
        for one in series for epoch in np.flatnonzero(np.isfinite(one.values))
    ]  # fmt: skip
    return Panel(title=title, kind="curves", draw=draw, rows=rows, height=236 + 20 * math.ceil(len(series) / 2))


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of the values between edges, one edge more than counts; the last count has all that is beyond, if cut."""

    counts: Sequence[int]
    edges: Sequence[float]
    is_cut: bool


def count_values(values: Floats) -> Histogram:
    """Return a histogram of the values, (N,) and finite, in round equal steps.

    It ends where one value in a hundred is larger, if those reach more than twice as far.
    """
    low, high = float(values.min()), float(values.max())
    usual = float(np.quantile(values, 0.99))
    top = high if high <= 2 * usual else usual
    is_whole = bool((values == np.round(values)).all())
    locator = ticker.MaxNLocator(_NUM_STEPS, steps=_STEPS, integer=is_whole, min_n_ticks=1)
    ticks = locator.tick_values(low, top if top > low else low + 1)
    step = ticks[1] - ticks[0]
    first = math.floor(low / step + 1e-9)
    edges = step * np.arange(first, max(math.floor(top / step + 1e-9), first) + 2)
    counts = np.histogram(values.clip(edges[0], edges[-1]), bins=edges)[0]
    return Histogram(counts=counts.tolist(), edges=edges.round(12).tolist(), is_cut=bool(high > edges[-1]))


def histogram_panel(histogram: Histogram, *, title: str, unit: str) -> Panel:
    """Return bars of the counts."""
    counts, edges = histogram.counts, histogram.edges

    def draw(canvas: Canvas) -> None:
        widths = 0.94 * np.diff(edges)
        bars = canvas.axes.bar(edges[:-1], counts, widths, align="edge", color=_color("motion"))
        for index, bar in enumerate(bars):
            is_last = histogram.is_cut and index == len(counts) - 1
            end = "or more" if is_last else f"to {edges[index + 1]:g}"
            canvas.tip(bar, [f"{edges[index]:g} {end}: {counts[index]:,}"])
        canvas.axes.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
        canvas.axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
        canvas.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        canvas.axes.set_xlabel(unit)

    rows = [{"from": edges[index], "to": edges[index + 1], "count": count} for index, count in enumerate(counts)]
    return Panel(title=title, kind="histogram", draw=draw, rows=rows)


def classes_panel(accuracy: Mapping[str, Floats], *, names: Sequence[str], title: str) -> Panel:
    """Return a row for each class with the accuracy of each method, (K,)."""

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes
        places = np.arange(len(names))[::-1]
        for method, values in accuracy.items():
            color, marker, filled = MARKS.get(method, _OTHER_MARK)
            face = _color(color if filled else "page")
            axes.scatter(100 * values, places, s=_size("markersize") ** 2, marker=marker, facecolor=face,
                         edgecolor=_color(color), label=label_of(method), zorder=3)  # fmt: skip
        axes.set_yticks(places, [shorten(name) for name in names], color=_color("ink"))
        axes.set(xlim=(-3, 103), ylim=(-0.6, len(names) - 0.4), xlabel="accuracy, %")
        _add_legend(canvas)

    rows = [
        {"class": name, **{phrase_of(method): float(values[index]) for method, values in accuracy.items()}}
        for index, name in enumerate(names)
    ]
    return Panel(title=title, kind="classes", draw=draw, rows=rows, height=80 + 20.0 * len(names))


def moment_panel(times: Floats, *, values: Floats, start: float, peak: float, stop: float) -> Panel:
    """Return a value over time, seconds, without axes: the span from start to stop shaded, its peak marked."""

    def draw(canvas: Canvas) -> None:
        canvas.axes.axvspan(start, max(stop, start), color=_color("fusion"), alpha=0.18, linewidth=0)
        canvas.axes.axvline(peak, color=_color("appearance"), linewidth=_size("linewidth", 0.7))
        canvas.axes.plot(times, values, color=_color("fusion"), linewidth=_size("linewidth", 0.7))
        canvas.axes.margins(x=0, y=0.08)
        canvas.axes.set_axis_off()

    return Panel(title="similarity over time", kind="moment", draw=draw, rows=(), width=300, height=44)
