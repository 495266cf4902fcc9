"""Where each point of a picture came from, over a chain of vector fields. Two ways, the same answer. Pure numpy.

Forward, a table of origins is kept for every pixel and moved with the blocks: `origin_new[dst] = origin_old[src]` for
each block that moves, wherever `dst` and `src = dst + trunc(vector / scale)` lie in the picture. Backward, single
points are followed: `origin_t(p) = origin_(t-1)(src(p))`.

Source: Wu et al., "Compressed Video Action Recognition", CVPR 2018, section 3.2, and the arithmetic of its loader.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moclip.motion_packing import EMPTY

_CELL = 8
# Points followed at a time: what stays in a processor's cache.
_MAX_POINTS = 1 << 16

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
        # As unsigned numbers, negative ones lie far outside too.
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
    # Oldest step first and in this order, a chain comes right after what it continues, or after a B-frame beside that.
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


class _Mover:
    """Moves a table of origins (int32 a pixel: x and y as int16) one step on, in runs of pixels as long as may be."""

    def __init__(self, steps: Steps, rows: Sequence[int]) -> None:
        num_rows, num_columns = steps.vectors.shape[1:3]
        self.height, self.width = num_rows * _CELL, num_columns * _CELL
        self._picture = (steps.width_px, steps.height_px)
        identity = np.empty((self.height, self.width, 2), np.int16)
        identity[..., 0] = np.arange(self.width)
        identity[..., 1] = np.arange(self.height)[:, None]
        self.identity = identity.view(np.int32).reshape(-1)
        cell_y, cell_x = np.indices((num_rows, num_columns), np.int32).reshape(2, -1) * _CELL
        self._cell_x, self._cell_y, self._corner = cell_x, cell_y, cell_y * self.width + cell_x
        self._lines = np.arange(_CELL) * self.width
        self._line, self._column = np.indices((_CELL, _CELL), np.int32).reshape(2, -1)
        self._moves = dict(zip(rows, steps.whole_px(rows).view(np.int32).reshape(len(rows), -1), strict=True))

    def move(self, table: NDArray[np.int32], row: int) -> NDArray[np.int32]:
        """Return the table after the blocks of a row of `Steps.vectors` have moved."""
        step = self._moves[row]
        moved = table.copy()
        # Where two cells side by side move alike, as they mostly do, they move as one.
        pairs = step.reshape(-1, 2)
        alike = pairs[:, 0] == pairs[:, 1]
        both = 2 * np.flatnonzero(alike & (pairs[:, 0] != 0))
        single = np.flatnonzero((pairs != 0) & ~alike[:, None])
        partly = self._move_runs(table, moved, both, step=step, num_cells=2)
        partly = np.concatenate([partly, partly + 1, self._move_runs(table, moved, single, step=step, num_cells=1)])
        if len(partly):
            self._move_pixels(table, moved, partly, step=step)
        return moved

    def _move_runs(
        self,
        table: NDArray[np.int32],
        moved: NDArray[np.int32],
        cells: NDArray[np.intp],
        *,
        step: NDArray[np.int32],
        num_cells: int,
    ) -> NDArray[np.intp]:
        # Moves the blocks that begin at `cells`, line by line, a line being one item; those of the source may start at
        # any pixel. Returns the cells whose source leaves the picture.
        length = num_cells * _CELL
        x, y = self._source_corner(cells, step=step)
        inside = (x.view(np.uint32) <= self._picture[0] - length) & (y.view(np.uint32) <= self._picture[1] - _CELL)
        source = (y * self.width + x)[inside].astype(np.intp)
        target = (self._corner[cells[inside]] // length).astype(np.intp)
        runs_from = np.ndarray((len(table) - length + 1,), f"V{4 * length}", buffer=table, strides=(4,))
        runs_to = moved.view(f"V{4 * length}")
        source, target = source[:, None] + self._lines, target[:, None] + self._lines // length
        runs_to[target] = runs_from[source]
        return cells[~inside]

    def _source_corner(
        self, cells: NDArray[np.intp], *, step: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        # Negative ones, which lie outside, are large when they are read as unsigned numbers.
        parts = step[cells].view(np.int16).reshape(-1, 2)
        return self._cell_x[cells] + parts[:, 0], self._cell_y[cells] + parts[:, 1]

    def _move_pixels(
        self, table: NDArray[np.int32], moved: NDArray[np.int32], cells: NDArray[np.intp], *, step: NDArray[np.int32]
    ) -> None:
        # Only those pixels move that come from inside the picture. (What the grid has outside the picture may hold
        # anything, since nothing is ever read from there.)
        x, y = self._source_corner(cells, step=step)
        from_x, from_y = x[:, None] + self._column, y[:, None] + self._line
        inside = (from_x.view(np.uint32) < self._picture[0]) & (from_y.view(np.uint32) < self._picture[1])
        source = from_y * self.width + from_x
        target = self._corner[cells][:, None] + (self._line * self.width + self._column)
        moved[target[inside]] = table[source[inside]]
