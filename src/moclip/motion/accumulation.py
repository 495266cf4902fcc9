"""Accumulate motion vectors: the origin of each pixel over a chain of vector fields.

Two equal methods. Forward: a table of origins of all pixels is moved with the blocks,
`origin_new[dst] = origin_old[src]` for each moving block, wherever `dst` and `src = dst + trunc(vector / scale)` are
inside the picture. Backward: single points are followed, `origin_t(p) = origin_(t-1)(src(p))`.

Source: Wu et al., "Compressed Video Action Recognition", CVPR 2018, section 3.2, and the arithmetic of its loader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from moclip.motion.vectors import EMPTY

_CELL = 8

# Points followed at a time: what stays in a processor's cache.
_MAX_POINTS = 1 << 16

# Cells whose moves are planned at a time.
_MAX_CELLS = 1 << 17

# The rows of `Steps.vectors` that lead back from a frame, its own first.
Chain = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Vector fields to step along.

    Attributes:
        vectors: (P, Hb, Wb, 2) int16, 1/`scale` px, back to the source, `NO_VECTOR` in both components where none.
        scale: Vector units in a pixel, a power of 2.
        width_px: Width of the picture, which the grid may exceed.
        height_px: Height of the picture.
    """

    vectors: NDArray[np.int16]
    scale: int
    width_px: int
    height_px: int

    def whole_px(self, rows: Sequence[int]) -> NDArray[np.int16]:
        """Return (len(rows), Hb, Wb, 2) int16, px: the steps of some rows, cut towards zero; 0 where there is none."""
        vectors = self.vectors[list(rows)]
        cells = vectors.view(np.int32)
        cells[cells == EMPTY] = 0
        if self.scale > 1:
            vectors += (vectors >> 15) & (self.scale - 1)
            vectors >>= self.scale.bit_length() - 1
        return vectors


def trace_back(steps: Steps, chains: Sequence[Chain], *, stride: int) -> NDArray[np.float32]:
    """Return (len(chains), h, w, 2) float32 px: how far the points `stride // 2 + stride * i` have come, x then y."""
    rows = np.arange(stride // 2, steps.height_px, stride, dtype=np.int32)
    columns = np.arange(stride // 2, steps.width_px, stride, dtype=np.int32)
    fields = np.empty((len(chains), len(rows), len(columns), 2), np.float32)
    if not fields.size:
        return fields
    used = sorted({row for chain in chains for row in chain})
    # Both components of a cell in one int32: the x below, the y above.
    table = steps.whole_px(used).view(np.int32).reshape(-1)
    place = {row: index for index, row in enumerate(used)}
    order = sorted(range(len(chains)), key=lambda index: -len(chains[index]))
    at_once = max(1, _MAX_POINTS // (len(rows) * len(columns)))
    for start in range(0, len(order), at_once):
        chosen = order[start : start + at_once]
        x, y = _follow(
            steps, table, [[place[row] for row in chains[index]] for index in chosen], rows=rows, columns=columns
        )
        fields[chosen, ..., 0] = columns - x
        fields[chosen, ..., 1] = rows[:, None] - y
    return fields


def _follow(
    steps: Steps,
    table: NDArray[np.int32],
    chains: Sequence[Sequence[int]],
    *,
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    # Chains come longest first, so that those which still go on are the first ones.
    x = np.empty((len(chains), len(rows), len(columns)), np.int32)
    y = np.empty_like(x)
    x[...], y[...] = columns, rows[:, None]
    num_rows, num_columns = steps.vectors.shape[1:3]
    for depth in range(len(chains[0])):
        base = [chain[depth] * num_rows * num_columns for chain in chains if len(chain) > depth]
        at_x, at_y = x[: len(base)], y[: len(base)]
        cell = (at_y >> 3).astype(np.intp)
        cell *= num_columns
        cell += at_x >> 3
        cell += np.array(base)[:, None, None]
        step = table.take(cell, mode="wrap")
        new_y = step >> 16
        step <<= 16
        step >>= 16
        step += at_x
        new_y += at_y
        # As unsigned numbers, negative ones are far outside too.
        wide, high = step.view(np.uint32), new_y.view(np.uint32)
        if wide.max() >= steps.width_px or high.max() >= steps.height_px:
            outside = (wide >= steps.width_px) | (high >= steps.height_px)
            np.copyto(step, at_x, where=outside)
            np.copyto(new_y, at_y, where=outside)
        at_x[...], at_y[...] = step, new_y
    return x, y


def accumulate_densely(steps: Steps, chains: Sequence[Chain], *, stride: int) -> NDArray[np.float32]:
    """Return what `trace_back` returns, by moving whole pictures; cheaper where nearly every pixel is asked for."""
    sample = (slice(stride // 2, steps.height_px, stride), slice(stride // 2, steps.width_px, stride))
    mover = _Mover(steps, sorted({row for chain in chains for row in chain}))
    here = mover.identity.view(np.int16).reshape(mover.height, mover.width, 2)
    fields = np.empty((len(chains), *here[sample].shape), np.float32)
    # Oldest step first and in this order, a chain comes right after what it continues, or after a B-frame next to that.
    oldest_first = [chain[::-1] for chain in chains]
    known: list[tuple[Chain, NDArray[np.int32]]] = []
    for index in sorted(range(len(chains)), key=lambda index: oldest_first[index]):
        chain = oldest_first[index]
        known = [(done, table) for done, table in known if chain[: len(done)] == done] or [((), mover.identity)]
        done, table = known[-1]
        for length in range(len(done), len(chain)):
            table = mover.move(table, chain[length])
            known = [known[-1], (chain[: length + 1], table)]
        fields[index] = (here - table.view(np.int16).reshape(here.shape))[sample]
    return fields


@dataclass(frozen=True)
class _Plan:
    """What moves with one row of vectors: runs of pixels by their length, and single pixels; from where, to where."""

    runs: tuple[tuple[int, NDArray[np.intp], NDArray[np.intp]], ...]
    pixels: tuple[NDArray[np.intp], NDArray[np.intp]]


class _Mover:
    """Moves a table of origins (int32 a pixel: x and y as int16) one step on, in runs of pixels as long as may be."""

    def __init__(self, steps: Steps, rows: Sequence[int]) -> None:
        num_rows, num_columns = steps.vectors.shape[1:3]
        self.height, self.width = num_rows * _CELL, num_columns * _CELL
        identity = np.empty((self.height, self.width, 2), np.int16)
        identity[..., 0] = np.arange(self.width)
        identity[..., 1] = np.arange(self.height)[:, None]
        self.identity = identity.view(np.int32).reshape(-1)
        self._lines = np.arange(_CELL) * self.width
        self._steps = steps
        at_once = max(1, _MAX_CELLS // (num_rows * num_columns))
        self._batches = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        self._batch_of = {row: batch for batch in self._batches for row in batch}
        self._plans: dict[int, _Plan] = {}

    def move(self, table: NDArray[np.int32], row: int) -> NDArray[np.int32]:
        """Return the table after the blocks of a row of `Steps.vectors` have moved."""
        if row not in self._plans:
            batch = self._batch_of[row]
            self._plans = dict(zip(batch, _plan_moves(self._steps, batch, width=self.width), strict=True))
        plan = self._plans[row]
        moved = table.copy()
        for length, source, target in plan.runs:
            # A run is one item: its source may start at any pixel, its target starts at a multiple of its length.
            runs_from = np.ndarray((len(table) - length + 1,), f"V{4 * length}", buffer=table, strides=(4,))
            runs_to = moved.view(f"V{4 * length}")
            runs_to[target[:, None] + self._lines // length] = runs_from[source[:, None] + self._lines]
        source, target = plan.pixels
        moved[target] = table[source]
        return moved


def _plan_moves(steps: Steps, rows: Sequence[int], *, width: int) -> list[_Plan]:
    # Where two neighboring cells move equally, as they mostly do, they move as one. Only those pixels move that come
    # from inside the picture. (What the grid has outside it may hold anything, since nothing is ever read there.)
    step = steps.whole_px(rows).view(np.int32).reshape(len(rows), -1)
    pairs = step.reshape(len(rows), -1, 2)
    moves, alike = pairs != 0, pairs[..., 0] == pairs[..., 1]
    runs, partly = [], []
    for num_cells, chosen in ((2, alike & moves[..., 0]), (1, moves & ~alike[..., None])):
        index = num_cells * np.flatnonzero(chosen)
        cell = index % step.shape[1]
        corner = cell // (width // _CELL) * (_CELL * width) + cell % (width // _CELL) * _CELL
        move = step.reshape(-1)[index].view(np.int16).reshape(-1, 2)
        x, y = corner % width + move[:, 0], corner // width + move[:, 1]
        length = num_cells * _CELL
        inside = (x >= 0) & (x <= steps.width_px - length) & (y >= 0) & (y <= steps.height_px - _CELL)
        keep = np.flatnonzero(inside)
        bounds = np.searchsorted(index[keep], np.arange(len(rows) + 1) * step.shape[1])
        runs.append((length, (y * width + x)[keep], corner[keep] // length, bounds))
        partly += [index[~inside] + offset for offset in range(num_cells)]
    source, target, bounds = _plan_pixels(steps, step, np.sort(np.concatenate(partly)), width=width)
    slices = [slice(start, stop) for start, stop in pairwise(bounds)]
    return [
        _Plan(
            runs=tuple((length, f[b[i] : b[i + 1]], t[b[i] : b[i + 1]]) for length, f, t, b in runs if b[i] < b[i + 1]),
            pixels=(source[slices[i]], target[slices[i]]),
        )
        for i in range(len(rows))
    ]


def _plan_pixels(
    steps: Steps, step: NDArray[np.int32], index: NDArray[np.intp], *, width: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    # Of cells, ascending over all rows, those pixels whose source is in the picture; and where each row begins.
    cell = index % step.shape[1]
    line, column = np.indices((_CELL, _CELL)).reshape(2, -1)
    x = (cell % (width // _CELL) * _CELL)[:, None] + column
    y = (cell // (width // _CELL) * _CELL)[:, None] + line
    move = step.reshape(-1)[index].view(np.int16).reshape(-1, 2)
    from_x, from_y = x + move[:, :1], y + move[:, 1:]
    inside = (from_x >= 0) & (from_x < steps.width_px) & (from_y >= 0) & (from_y < steps.height_px)
    ends = np.concatenate([[0], np.cumsum(inside.sum(axis=1))])
    bounds = ends[np.searchsorted(index, np.arange(len(step) + 1) * step.shape[1])]
    return (from_y * width + from_x)[inside], (y * width + x)[inside], bounds
