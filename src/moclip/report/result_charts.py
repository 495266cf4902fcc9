"""Charts of results as inline SVG: reliability, intervals, gains, cost against accuracy.

Each is drawn for a width of 420 px and shown at 370 to 560 px. Colors and fonts come from the style sheet.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from moclip.report.charts import CHART_WIDTH, SHAPES, choose_ticks

_FRAME_LEFT, _FRAME_RIGHT, _FRAME_TOP = 48, 12, 10

_CELL_PX = 250

_CELL_PLOT_PX, _CELL_BARS_PX = 150, 26

_ROW_PX, _AXIS_PX = 20, 40

_LETTER_PX, _MAX_NAME, _VALUE_PX = 6.3, 24, 52

_SCATTER_HEIGHT = 300

_MINUS = "\N{MINUS SIGN}"

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A named number in points and the bounds of its interval, or None; `style` is a class name of the page."""

    name: str
    value: float
    low: float | None
    high: float | None
    style: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a scatter: x above 0, y from 0 to 1 with the bounds of its interval, or None; how it is drawn."""

    x: float
    y: float
    low: float | None
    high: float | None
    shape: str
    style: str
    label: str


def _svg(drawn: str, *, kind: str, width: float, height: float, title: str) -> str:
    return (
        f'<svg class="chart {kind}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{drawn}</svg>"
    )


def _text(x: float, y: float, words: str, *, anchor: str = "middle", style: str = "tick") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _turned(x: float, y: float, words: str) -> str:
    place = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="middle"'
    return f'<text class="tick" {place}>{escape(words)}</text>'


def signed(points: float) -> str:
    """Return points with a sign and one decimal: +7.1, -2.6 with a true minus, 0.0.

    >>> signed(-0.04)
    '0.0'
    """
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}".replace("-", _MINUS)


def draw_reliability(
    counts: NDArray[np.integer], *, confidence: Floats, accuracy: Floats, style: str, title: str
) -> str:
    """Return accuracy over confidence with the line of a perfect match, and below it how many videos each bin has.

    Each argument is (bins,), the means of an empty bin left out.
    """
    left, top, side = _FRAME_LEFT, _FRAME_TOP, _CELL_PLOT_PX
    width = _CELL_PX - left - _FRAME_RIGHT
    below = top + side + 8 + _CELL_BARS_PX
    parts = [*_unit_grid(left, top=top, width=width, height=side)]
    parts.append(f'<path class="ideal" d="M{left} {top + side}L{left + width} {top}"/>')
    filled = np.flatnonzero(counts)
    total, most = max(1, int(counts.sum())), max(1, int(counts.max(initial=0)))
    places = [(left + width * float(confidence[b]), top + side * (1 - float(accuracy[b]))) for b in filled]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<g class="{escape(style)}"><polyline class="line thin" points="{path}"/>')
    for b, (x, y) in zip(filled, places, strict=True):
        words = (
            f"said {100 * confidence[b]:.0f} %, right {100 * accuracy[b]:.0f} % of {int(counts[b]):,} "
            f"({100 * counts[b] / total:.0f} % of all)"
        )
        radius = 2.5 + 4 * math.sqrt(int(counts[b]) / most)
        tall = _CELL_BARS_PX * int(counts[b]) / most
        bar_x, bar_width = left + width * b / len(counts), width / len(counts) - 1
        parts.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{words}</title></circle>'
            f'<rect class="share" x="{bar_x:.1f}" y="{below - tall:.1f}" width="{bar_width:.1f}" '
            f'height="{max(tall, 0.8):.1f}"><title>{words}</title></rect>'
        )
    parts += [
        f'</g><path class="grid" d="M{left} {below}H{left + width}"/>',
        *(
            _text(left + width * share, below + 14, f"{100 * share:.0f}", anchor=anchor)
            for share, anchor in ((0.0, "middle"), (0.5, "middle"), (1.0, "middle"))
        ),
        _text(left + width / 2, below + 30, "confidence, %"),
        _turned(12, top + side / 2, "accuracy, %"),
        _turned(left - 12, below - _CELL_BARS_PX / 2, "n"),
    ]
    return _svg("".join(parts), kind="reliability", width=_CELL_PX, height=below + 36, title=title)


def _unit_grid(left: float, *, top: float, width: float, height: float) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + height * (1 - share)
        yield f'<path class="grid" d="M{left} {y:.1f}H{left + width}"/>'
        if share in (0.0, 0.5, 1.0):
            yield _text(left - 6, y + 4, f"{100 * share:.0f}", anchor="end")


def draw_rows(rows: Sequence[Row], *, axis: str, bars: bool, title: str) -> str:
    """Return a row for each number over an axis of points through 0: a bar from 0, or a dot, and its interval."""
    names = [
        row.name if len(row.name) <= _MAX_NAME else row.name[: _MAX_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
        for row in rows
    ]
    left = 10 + _LETTER_PX * max(map(len, names), default=0)
    right = CHART_WIDTH - _VALUE_PX
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    ticks, low, high = _span(min(0.0, *ends), max(0.0, *ends))
    bottom = _FRAME_TOP + _ROW_PX * len(rows)

    def place(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    parts = [f'<path class="grid" d="M{place(t):.1f} {_FRAME_TOP}V{bottom}"/>' for t in ticks]
    parts.append(f'<path class="zero" d="M{place(0):.1f} {_FRAME_TOP - 4}V{bottom + 4}"/>')
    parts += [_text(place(t), bottom + 17, f"{t:+g}".replace("-", _MINUS) if t else "0") for t in ticks]
    parts.append(_text((left + right) / 2, bottom + 34, axis))
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = _FRAME_TOP + _ROW_PX * (index + 0.5)
        parts.append(_text(left - 8, y + 4, name, anchor="end", style="name"))
        parts.append(_text(CHART_WIDTH - 4, y + 4, signed(row.value), anchor="end", style="name"))
        drawn = _bar(place(0), x=place(row.value), y=y) if bars else ""
        if row.low is not None and row.high is not None:
            drawn += _whisker(place(row.low), x=place(row.high), y=y, style="cap" if bars else "interval")
        if not bars:
            drawn += f'<circle class="{"hollow" if row.style == "unsure" else "dot"}" cx="{place(row.value):.1f}" '
            drawn += f'cy="{y:.1f}" r="4.5"/>'
        parts.append(f'<g class="{escape(row.style)}">{drawn}<title>{escape(row.label)}</title></g>')
    return _svg(
        "".join(parts), kind="gains" if bars else "intervals", width=CHART_WIDTH, height=bottom + _AXIS_PX, title=title
    )


def _span(low: float, high: float) -> tuple[list[float], float, float]:
    if high - low < 1:
        low, high = low - 0.5, high + 0.5
    ticks = choose_ticks(low, high, count=4)
    step = ticks[1] - ticks[0]
    pad = 0.04 * (high - low)
    return ticks, min(low - pad, ticks[0] - 0.1 * step), max(high + pad, ticks[-1] + 0.1 * step)


def _bar(zero: float, *, x: float, y: float) -> str:
    width = max(abs(x - zero), 0.8)
    return f'<rect class="dot" x="{min(zero, x):.1f}" y="{y - 6:.1f}" width="{width:.1f}" height="12" rx="1.5"/>'


def _whisker(low: float, *, x: float, y: float, style: str) -> str:
    caps = f"M{low:.1f} {y - 3:.1f}V{y + 3:.1f}M{x:.1f} {y - 3:.1f}V{y + 3:.1f}"
    return f'<path class="{style}" d="M{low:.1f} {y:.1f}H{x:.1f}{caps}"/>'


def draw_scatter(points: Sequence[Point], *, x_label: str, y_label: str, title: str) -> str:
    """Return accuracy over a cost on a logarithmic axis, each point with its interval; later ones are on top."""
    left, top, right = _FRAME_LEFT, _FRAME_TOP, CHART_WIDTH - _FRAME_RIGHT
    bottom = _SCATTER_HEIGHT - _AXIS_PX - 4
    first, last = _decades([point.x for point in points])
    y_low, y_high, levels = _share_range(points)

    def place_x(value: float) -> float:
        return left + 8 + (right - left - 16) * (math.log10(value) - first) / (last - first)

    def place_y(share: float) -> float:
        return bottom - (bottom - top) * (share - y_low) / (y_high - y_low)

    parts = [f'<path class="grid" d="M{left} {place_y(level):.1f}H{right}"/>' for level in levels]
    parts += [_text(left - 6, place_y(level) + 4, f"{100 * level:.0f}", anchor="end") for level in levels]
    for value in _log_ticks(first, last):
        parts.append(f'<path class="grid" d="M{place_x(value):.1f} {top}V{bottom}"/>')
        parts.append(_text(place_x(value), bottom + 17, short_number(value)))
    parts += [_text((left + right) / 2, bottom + 36, x_label), _turned(12, (top + bottom) / 2, y_label)]
    for point in points:
        x, y = place_x(point.x), place_y(point.y)
        bounds = ""
        if point.low is not None and point.high is not None:
            ends = (min(max(place_y(end), top), bottom) for end in (point.low, point.high))
            bounds = '<path class="interval" d="M{x:.1f} {:.1f}V{:.1f}"/>'.format(*ends, x=x)
        parts.append(
            f'<g class="point {escape(point.style)}">{bounds}<g transform="translate({x:.1f} {y:.1f})">'
            f"{SHAPES[point.shape]}</g><title>{escape(point.label)}</title></g>"
        )
    return _svg("".join(parts), kind="scatter", width=CHART_WIDTH, height=_SCATTER_HEIGHT, title=title)


def _decades(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.08 * (high - low), 0.1)
    return low - pad, high + pad


def _log_ticks(first: float, last: float) -> list[float]:
    # 1, 2 and 5 of each power of ten, or the powers alone where those are too many to be read.
    powers = range(math.floor(first), math.ceil(last) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        shown = [tick for tick in ticks if first <= math.log10(tick) <= last]
        if len(shown) <= 7:
            break
    return shown or [10 ** ((first + last) / 2)]


def short_number(value: float) -> str:
    """Return a positive number in few letters, thousands by name.

    >>> short_number(71_300_000.0), short_number(0.2)
    ('71.3 M', '0.2')
    """
    if value < 1000:
        return f"{value:.3g}"
    for power, name in ((3, "k"), (6, "M"), (9, "G"), (12, "T")):
        if value < 999.5 * 10.0**power:
            return f"{value / 10.0**power:.3g} {name}"
    return f"{value:.0e}"


def _share_range(points: Sequence[Point]) -> tuple[float, float, list[float]]:
    ends = [end for point in points for end in (point.y, point.low, point.high) if end is not None]
    low, high = max(0.0, min(ends)), min(1.0, max(ends))
    pad = max(0.06 * (high - low), 0.01)
    low, high = max(0.0, low - pad), min(1.005, high + pad)
    return low, high, choose_ticks(low, min(high, 1.0), count=5)
