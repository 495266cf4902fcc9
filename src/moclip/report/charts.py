"""Small charts as inline SVG, and learning curves."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.core.files import replace_atomically
from moclip.errors import DatasetError

CHART_WIDTH = 420

CHART_HEIGHT = 230

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 10, 36

_MAX_POINTS = 300

_MAX_NAME = 26

_MAX_CELLS_WITH_NUMBERS = 12

_NUM_STEPS = 24

Floats = NDArray[np.float64]

# A mark by the name of its shape, drawn around (0, 0).
SHAPES = {
    "circle": '<circle r="5.5"/>',
    "square": '<rect x="-4.5" y="-4.5" width="9" height="9"/>',
    "triangle": '<path d="M0-5.5 5.5 4.5H-5.5z"/>',
    "diamond": '<path d="M0-6 6 0 0 6-6 0z"/>',
    "ring": '<circle r="4" class="hollow"/>',
    "hollow_square": '<rect x="-4" y="-4" width="8" height="8" class="hollow"/>',
    "hollow_triangle": '<path d="M0-5 5 4H-5z" class="hollow"/>',
    "cross": '<path d="M-4-4 4 4M-4 4 4-4" class="hollow"/>',
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart: a value for each epoch from 1, (E,), nan where there is none, and the range over runs.

    `style` is a class name of the page; `dashed` sets validation off from training.
    """

    name: str
    style: str
    values: Floats
    low: Floats
    high: Floats
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value from 0 to 1 on a strip, its shape (a key of `SHAPES`), its class name and the text shown on it."""

    value: float
    shape: str
    style: str
    label: str


def choose_ticks(low: float, high: float, *, count: int = 4) -> list[float]:
    """Return about `count` round numbers from `low` to `high`, both within the range."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(series: Sequence[Series], *, title: str, percent: bool) -> str:
    """Return a chart of the series over epochs, with a band from the lowest to the highest run behind each line.

    `percent` fixes the axis to 0 to 100 %; else it runs from 0 to the highest value.
    """
    num_epochs = max(len(one.values) for one in series)
    top = 1.0 if percent else max((float(np.nanmax(one.high)) for one in series), default=1.0) * 1.05 or 1.0
    x_px = np.linspace(_LEFT, CHART_WIDTH - _RIGHT, num_epochs) if num_epochs > 1 else np.array([_LEFT + 10.0])
    parts = [*_axes(x_px, top=top, percent=percent), *(_line(one, x_px=x_px, top=top) for one in series)]
    return (
        f'<svg class="chart curves" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _axes(x_px: Floats, *, top: float, percent: bool) -> Iterator[str]:
    bottom, right = CHART_HEIGHT - _BOTTOM, CHART_WIDTH - _RIGHT
    yield from _levels(choose_ticks(0.0, top), top=top, percent=percent)
    epochs = sorted({1, len(x_px), *(int(tick) for tick in choose_ticks(1, len(x_px)) if tick == int(tick))})
    gap = (right - _LEFT) / 9
    for epoch in epochs:
        x = x_px[epoch - 1]
        if epoch in (1, len(x_px)) or min(x - x_px[0], x_px[-1] - x) > gap:
            yield f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{epoch}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text class="tick" x="{middle}" y="{CHART_HEIGHT - 4}" text-anchor="middle">epoch</text>'


def _levels(ticks: Sequence[float], *, top: float, percent: bool) -> Iterator[str]:
    for tick in ticks:
        y = _y_px(tick, top=top)
        word = f"{100 * tick:.0f} %" if percent else f"{tick:g}"
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{CHART_WIDTH - _RIGHT}"/>'
        yield f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{word}</text>'


def _y_px(value: float, *, top: float) -> float:
    return _TOP + (CHART_HEIGHT - _BOTTOM - _TOP) * (1 - value / top)


def _line(one: Series, *, x_px: Floats, top: float) -> str:
    step = max(1, math.ceil(len(one.values) / _MAX_POINTS))
    shown = [index for index in range(0, len(one.values), step) if math.isfinite(one.values[index])]
    if not shown:
        return ""
    middle, low, high = (_points(shown, x_px=x_px, values=v, top=top) for v in (one.values, one.low, one.high))
    dash = " dashed" if one.dashed else ""
    band = f'<polygon class="band" points="{" ".join([*high, *reversed(low)])}"/>'
    line = f'<polyline class="line{dash}" points="{" ".join(middle)}"/>'
    dot = '<circle class="dot" cx="{}" cy="{}" r="3.5"/>'.format(*middle[0].split(",")) if len(shown) == 1 else ""
    return f'<g class="{escape(one.style)}">{band}{line}{dot}<title>{escape(one.name)}</title></g>'


def _points(shown: Sequence[int], *, x_px: Floats, values: Floats, top: float) -> list[str]:
    return [f"{x_px[index]:.1f},{_y_px(float(values[index]), top=top):.1f}" for index in shown]


def histogram(values: Floats, *, title: str, unit: str) -> str:
    """Return bars that count the values, (N,) and finite, in equal steps; the last takes what is beyond it.

    The axis ends where one value in a hundred is larger, if those reach more than twice as far.
    """
    low, high = float(values.min()), float(values.max())
    usual = float(np.quantile(values, 0.99))
    edges = _edges(low, high if high <= 2 * usual else usual, whole=bool((values == np.round(values)).all()))
    counts = np.histogram(np.minimum(values, edges[-1]), bins=edges)[0]
    x_px = np.linspace(_LEFT, CHART_WIDTH - _RIGHT, len(edges))
    top = float(counts.max()) * 1.05
    bars = "".join(_bars(counts, edges=edges, x_px=x_px, is_cut=high > edges[-1]))
    levels = [tick for tick in choose_ticks(0.0, top) if tick == int(tick)]
    axes = "".join([*_levels(levels, top=top, percent=False), *_scale(edges, unit=unit)])
    return (
        f'<svg class="chart" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{axes}<g class="bars">{bars}</g></svg>'
    )


def _edges(low: float, high: float, *, whole: bool) -> Floats:
    ticks = choose_ticks(low, high, count=_NUM_STEPS)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    if whole:
        step = float(max(1, round(step)))
    first = math.floor(low / step + 1e-9)
    last = max(math.floor(high / step + 1e-9), first) + 1
    return np.array([index * step for index in range(first, last + 1)])


def _bars(counts: NDArray[np.integer], *, edges: Floats, x_px: Floats, is_cut: bool) -> Iterator[str]:
    top = float(counts.max()) * 1.05
    for index, count in enumerate(counts):
        if count:
            y = _y_px(float(count), top=top)
            end = "or more" if is_cut and index == len(counts) - 1 else f"to {edges[index + 1]:g}"
            yield (
                f'<rect x="{x_px[index] + 0.5:.1f}" y="{y:.1f}" width="{x_px[index + 1] - x_px[index] - 1:.1f}" '
                f'height="{CHART_HEIGHT - _BOTTOM - y:.1f}"><title>{edges[index]:g} {end}: {count:,}</title></rect>'
            )


def _scale(edges: Floats, *, unit: str) -> Iterator[str]:
    bottom, right = CHART_HEIGHT - _BOTTOM, CHART_WIDTH - _RIGHT
    for tick in choose_ticks(float(edges[0]), float(edges[-1]), count=6):
        x = _LEFT + (right - _LEFT) * (tick - edges[0]) / (edges[-1] - edges[0])
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text class="tick" x="{middle}" y="{CHART_HEIGHT - 4}" text-anchor="middle">{escape(unit)}</text>'


def strip(marks: Sequence[Mark]) -> str:
    """Return one row of a dot plot, 0 to 100 % over the full width of its place; later marks cover earlier ones."""
    values = [mark.value for mark in marks if math.isfinite(mark.value)]
    span = (
        f'<line class="span" x1="{100 * min(values):.2f}%" x2="{100 * max(values):.2f}%" y1="11" y2="11"/>'
        if values
        else ""
    )
    drawn = "".join(
        f'<svg class="{escape(mark.style)}" x="{100 * mark.value:.2f}%" y="11" overflow="visible">'
        f"<g>{SHAPES[mark.shape]}<title>{escape(mark.label)}</title></g></svg>"
        for mark in marks
        if math.isfinite(mark.value)
    )
    grid = "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="22"/>' for x in (0, 25, 50, 75, 100))
    return f'<svg class="strip" height="22" overflow="visible" aria-hidden="true">{grid}{span}{drawn}</svg>'


def shape_key(shape: str, *, style: str) -> str:
    """Return a mark alone, for a legend."""
    return (
        f'<svg class="key {escape(style)}" viewBox="-8 -8 16 16" width="16" height="16" aria-hidden="true">'
        f"{SHAPES[shape]}</svg>"
    )


def line_key(style: str, *, dashed: bool) -> str:
    """Return a stroke alone, for a legend."""
    dash = " dashed" if dashed else ""
    return (
        f'<svg class="key {escape(style)}" viewBox="0 0 24 8" width="24" height="8" aria-hidden="true">'
        f'<polyline class="line{dash}" points="0,4 24,4"/></svg>'
    )


def heatmap(counts: NDArray[np.integer], *, totals: NDArray[np.integer], names: Sequence[str], title: str) -> str:
    """Return a confusion matrix: rows true, columns predicted, ink as the share of the row's `totals`, (K,).

    Cells are shaded by share; each shows its numbers under the pointer, and its per cent where there is room.
    """
    num_classes = len(names)
    cell = 38 if num_classes <= _MAX_CELLS_WITH_NUMBERS else 22 if num_classes <= 30 else 13
    font = min(12, cell - 3)  # a line of text is taller than its size: names of neighbours must not touch
    name_px = 0.56 * font * max((min(len(name), _MAX_NAME) for name in names), default=0)
    left, top = 12 + name_px, 16 + 0.77 * name_px
    side = cell * num_classes
    labels = "".join(_labels(names, cell=cell, font=font, left=left, top=top))
    cells = "".join(_cells(counts, totals=totals, names=names, cell=cell))
    width, height = left + side + 0.65 * name_px, top + side + 2
    return (
        f'<svg class="heatmap" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(title)}">{labels}<g transform="translate({left:.1f} {top:.1f})">'
        f'<rect class="frame" x="-1" y="-1" width="{side + 1}" height="{side + 1}"/>{cells}</g></svg>'
    )


def _labels(names: Sequence[str], *, cell: int, font: int, left: float, top: float) -> Iterator[str]:
    for index, name in enumerate(names):
        short = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
        middle = cell * (index + 0.5)
        text = f"{escape(short)}<title>{escape(name)}</title></text>"
        size = f'class="name" font-size="{font}"'
        yield f'<text {size} x="{left - 7:.1f}" y="{top + middle + font * 0.35:.1f}" text-anchor="end">{text}'
        yield f'<text {size} transform="translate({left + middle + font * 0.2:.1f} {top - 7:.1f}) rotate(-50)">{text}'


def _cells(
    counts: NDArray[np.integer], *, totals: NDArray[np.integer], names: Sequence[str], cell: int
) -> Iterator[str]:
    with_numbers = len(names) <= _MAX_CELLS_WITH_NUMBERS
    for true, predicted in np.argwhere(counts > 0):
        count = int(counts[true, predicted])
        share = count / int(totals[true])
        x, y = cell * int(predicted), cell * int(true)
        kind = "hit" if true == predicted else "miss"
        pair = f"{names[true]} \N{RIGHTWARDS ARROW} {names[predicted]}"
        label = f"{pair}: {count} of {int(totals[true])} ({100 * share:.1f} %)"
        yield (
            f'<g class="{kind}"><rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
            f'fill-opacity="{max(share, 0.06):.2f}"/>'
        )
        if with_numbers:
            tone = "value on" if share > 0.5 else "value"
            place = f'x="{x + (cell - 1) / 2}" y="{y + (cell - 1) / 2 + 4}" text-anchor="middle"'
            yield f'<text class="{tone}" {place}>{100 * share:.0f}</text>'
        yield f"<title>{escape(label)}</title></g>"


_HEAD, _GAP = 54, 30

# Colours as on the pages, light and dark; widths in px of the drawing.
_STYLE = """
svg { color-scheme: light dark; --ink: #1a1d21; --muted: #5a6370; --line: #dde1e6; --motion: #0b7a68; --page: #ffffff; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e7e9ec; --muted: #9ba4af; --line: #30353c; --motion: #46c7ac; --page: #121417; }
}
.page { fill: var(--page); } text { fill: var(--muted); font: 12px system-ui, sans-serif; }
.title { fill: var(--ink); font-size: 14px; font-weight: 600; }
.grid { stroke: var(--line); fill: none; }
.motion { color: var(--motion); } .dot { fill: currentColor; } .band { display: none; }
.line { fill: none; stroke: currentColor; stroke-width: 2.2; stroke-linejoin: round; }
.dashed { stroke-dasharray: 5 4; }
"""


def draw_learning_curve(
    *,
    train_loss: Sequence[float],
    val_loss: Sequence[float],
    train_top_1: Sequence[float],
    val_top_1: Sequence[float],
    best_epoch: int,
    title: str,
) -> str:
    """Return an SVG document: loss and top-1 over epochs from 1, training whole, validation (nan: none) dashed."""
    charts = {
        "Loss": line_chart(_pair(train_loss, val_loss), title="loss", percent=False),
        "Top-1": line_chart(_pair(train_top_1, val_top_1), title="top-1", percent=True),
    }
    width, height = 2 * CHART_WIDTH + _GAP, _HEAD + CHART_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{_STYLE}</style><rect class="page" width="100%" height="100%"/>',
        f'<text class="title" x="14" y="20">{escape(title)}</text>',
        f'<text x="14" y="40">whole: training; dashed: validation; epoch {best_epoch} kept</text>',
    ]
    for index, (name, chart) in enumerate(charts.items()):
        left = index * (CHART_WIDTH + _GAP)
        placed = f'<svg x="{left}" y="{_HEAD}" width="{CHART_WIDTH}" height="{CHART_HEIGHT}"'
        parts += [
            chart.replace("<svg", placed, 1),
            f'<text class="title" x="{left + CHART_WIDTH - 14}" y="40" text-anchor="end">{name}</text>',
        ]
    return "".join([*parts, "</svg>\n"])


def _pair(train: Sequence[float], val: Sequence[float]) -> list[Series]:
    drawn = [_series("training", train, dashed=False)]
    if np.isfinite(val).any():
        drawn.append(_series("validation", val, dashed=True))
    return drawn


def _series(name: str, values: Sequence[float], *, dashed: bool) -> Series:
    line: NDArray[np.float64] = np.asarray(values, np.float64)
    return Series(name=name, style="motion", values=line, low=line, high=line, dashed=dashed)


_COLUMNS = ("train_loss", "val_loss", "train_top_1", "val_top_1")


def write_network_curve(path: Path, *, history: Path, title: str) -> None:
    """Write the learning curve behind a `history.tsv` as an SVG document.

    Raises:
        DatasetError: The history is missing or is none.
    """
    try:
        with history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, dialect="excel-tab"))
        values = {name: [float(row[name]) if row[name] else math.nan for row in rows] for name in _COLUMNS}
        best_epoch = next(int(row["epoch"]) for row in rows if row["chosen"] == "1")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise DatasetError(
            f"{history}: expected the history of a motion network ({error!r}); delete it and train again"
        ) from None
    drawn = draw_learning_curve(**values, best_epoch=best_epoch, title=title)
    with replace_atomically(path) as temporary:
        temporary.write_text(drawn, encoding="utf-8")
