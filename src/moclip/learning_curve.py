"""The learning curve of one training as an SVG that opens by itself. Pure."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from moclip.svg import CHART_HEIGHT, CHART_WIDTH, Series, line_chart

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
