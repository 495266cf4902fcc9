"""The panel of a confusion matrix, its classes ordered so that those that are confused are neighbors."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from moclip.report.figures import Canvas, Panel, palette
from moclip.report.plots import shorten

Counts = NDArray[np.integer]

_MAX_NUMBERED_CELLS = 12


def heatmap_panel(confusion: Counts, *, totals: Counts, names: Sequence[str], title: str) -> Panel:
    """Return a confusion matrix: rows true, columns predicted, ink as the share of the row's `totals`, (K,).

    Classes that are confused stand next to each other. Cells have their per cent where there is room.
    """
    order = _order_classes(confusion)
    number = len(order)
    cell = 38.0 if number <= _MAX_NUMBERED_CELLS else 22.0 if number <= 30 else 13.0
    shown = [shorten(names[index], 26) for index in order]
    room = 0.6 * min(12.0, cell - 3) * max(map(len, shown), default=0)
    side = cell * number
    width, height = 30 + room + side + 0.65 * room, 24 + side + 0.8 * room
    shares = confusion[np.ix_(order, order)] / np.maximum(totals[order], 1)[:, None]

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes
        axes.grid(visible=False)
        axes.add_patch(Rectangle((0, 0), number, number, facecolor=palette()["card"], edgecolor=palette()["line"]))
        points = axes.get_figure().get_size_inches()[0] * 72 / width * cell  # type: ignore[union-attr]
        font = min(float(mpl.rcParams["font.size"]), 0.8 * points)
        for hit in (True, False):
            rows, columns = np.nonzero((shares > 0) & (np.eye(number, dtype=bool) == hit))
            corners = np.array([[0, 0], [0.94, 0], [0.94, 0.94], [0, 0.94]])
            squares = np.stack([columns, rows], axis=-1)[:, None] + corners
            ink_of_cell = palette()["fusion" if hit else "miss"]
            drawn = PolyCollection(
                squares, facecolors=[mpl.colors.to_rgba(ink_of_cell, max(s, 0.06)) for s in shares[rows, columns]]
            )
            canvas.tip(axes.add_collection(drawn), [_say_cell(*pair) for pair in zip(rows, columns, strict=True)])
            for row, column in zip(rows, columns, strict=True) if number <= _MAX_NUMBERED_CELLS else ():
                ink = palette()["page" if shares[row, column] > 0.5 else "ink"]
                place = (column + 0.47, row + 0.5)
                axes.text(
                    *place, f"{100 * shares[row, column]:.0f}", color=ink, ha="center", va="center", fontsize=font
                )
        axes.set(xlim=(-0.1, number + 0.1), ylim=(number + 0.1, -0.1), aspect="equal")
        if font > 3:
            ticks = np.arange(number) + 0.5
            axes.set_yticks(ticks, shown, color=palette()["ink"], fontsize=font)
            slanted: dict[str, Any] = {"rotation": 50, "ha": "left", "rotation_mode": "anchor"}
            axes.set_xticks(ticks, shown, color=palette()["ink"], fontsize=font, **slanted)
            axes.xaxis.tick_top()
        else:
            axes.set(xticks=[], yticks=[], xlabel="predicted class", ylabel="true class")

    def _say_cell(row: np.integer, column: np.integer) -> str:
        count, total = int(confusion[order[row], order[column]]), int(totals[order[row]])
        pair = f"{names[order[row]]} \N{RIGHTWARDS ARROW} {names[order[column]]}"
        return f"{pair}: {count} of {total} ({100 * count / max(total, 1):.1f} %)"

    numbers = [
        {"true": names[true], "predicted": names[predicted], "videos": int(confusion[true, predicted]),
         "of": int(totals[true])}
        for true in order for predicted in order if confusion[true, predicted]
    ]  # fmt: skip
    return Panel(title=title, kind="heatmap", draw=draw, rows=numbers, width=width, height=height)


def _order_classes(confusion: Counts) -> list[int]:
    # The leaves of a tree of classes by how often they are confused, either way.
    number = len(confusion)
    if number < 3:
        return list(range(number))
    from scipy.cluster.hierarchy import leaves_list, linkage  # noqa: PLC0415 (a second)
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]
