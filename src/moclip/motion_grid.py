"""From FFmpeg's list of block vectors to the grid of 8 x 8 px cells, many frames at a time. Pure numpy."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_VECTOR = -32768

# FFmpeg's AVMotionVector, 40 bytes: int32 source, uint8 w, uint8 h, int16 src_x | int16 src_y, dst_x, dst_y, padding |
# uint64 flags | int32 motion_x, motion_y | uint16 motion_scale, padding. Read here as five little-endian int64.
_BYTES = 40
_BLOCK_16X16, _BLOCK_8X16, _BLOCK_16X8, _BLOCK_8X8 = 0x1010, 0x1008, 0x0810, 0x0808
_EMPTY_PAIR = np.array([NO_VECTOR] * 4, np.int16).view(np.int64)[0]
# What a processor's cache holds beside the arrays that are made of it.
_BUFFER_BYTES = 1 << 19
_FEWEST_ROWS, _MOST_EXPECTED_BYTES = 64, 1 << 29


class VectorError(ValueError):
    """The vectors of a video do not fit on one grid."""


@dataclass(frozen=True, kw_only=True)
class GriddedVectors:
    """Vector fields on the grid: what `MotionVectors` holds of them, by the same names."""

    past: NDArray[np.int16]
    past_frame_index: NDArray[np.int32]
    future: NDArray[np.int16]
    future_frame_index: NDArray[np.int32]
    motion_scale: int


@dataclass
class _Rows:
    """A growing (N, cells) array; the last axis counts pairs of cells, one int64 each."""

    num_pairs: int
    capacity: int
    num_rows: int = 0
    frame_index: list[NDArray[np.int32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._data = np.empty((0, self.num_pairs), np.int64)

    def extend(self, frame_index: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the new rows, to be filled in."""
        start, stop = self.num_rows, self.num_rows + len(frame_index)
        if stop > len(self._data):
            # Pages are mapped when they are first written, so that room which is never used costs nothing.
            grown = np.empty((max(self.capacity, 2 * len(self._data), stop), self.num_pairs), np.int64)
            grown[:start] = self._data[:start]
            self._data = grown
        self.num_rows = stop
        self.frame_index.append(frame_index)
        return self._data[start:stop]

    def fields(self, *, height: int, width: int) -> NDArray[np.int16]:
        return self._data[: self.num_rows].view(np.int16).reshape(self.num_rows, height, width, 2)

    def frames(self) -> NDArray[np.int32]:
        return np.concatenate([np.empty(0, np.int32), *self.frame_index])


class MotionGrid:
    """Collects the block vectors of frames, and lays them on the grid whenever its buffer is full."""

    def __init__(self, *, width_px: int, height_px: int, num_frames: int = 0) -> None:
        """Take the size of the picture, and the likely number of frames (0 where it is not known)."""
        self._columns = -(-width_px // 16)
        self._rows = -(-height_px // 16)
        pairs = 2 * self._columns * self._rows
        capacity = max(min(num_frames, _MOST_EXPECTED_BYTES // (8 * pairs)), _FEWEST_ROWS)
        self._past = _Rows(num_pairs=pairs, capacity=capacity)
        self._future = _Rows(num_pairs=pairs, capacity=capacity)
        self._scale = 0
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._clear()

    def _clear(self) -> None:
        self._used = 0
        self._counts: list[int] = []
        self._frames: list[int] = []

    def add(self, frame_index: int, vectors: memoryview) -> None:
        """Take the vectors of a frame, FFmpeg's structs as bytes, which are copied."""
        start, stop = self._used, self._used + len(vectors)
        if stop > len(self._buffer):
            self._flush()
            start, stop = 0, len(vectors)
            if stop > len(self._buffer):
                self._buffer = memoryview(bytearray(2 * stop))
        self._buffer[start:stop] = vectors
        self._used = stop
        self._counts.append(len(vectors) // _BYTES)
        self._frames.append(frame_index)

    def finish(self) -> GriddedVectors:
        """Return the fields of all the frames.

        Raises:
            VectorError: The unit of the vectors changes, or a block has another size than the grid can hold.
        """
        self._flush()
        height, width = 2 * self._rows, 2 * self._columns
        return GriddedVectors(
            past=self._past.fields(height=height, width=width),
            past_frame_index=self._past.frames(),
            future=self._future.fields(height=height, width=width),
            future_frame_index=self._future.frames(),
            motion_scale=self._scale,
        )

    def _flush(self) -> None:
        if not self._used:
            return
        table = np.frombuffer(self._buffer[: self._used], np.int64).reshape(-1, 5)
        counts = np.array(self._counts)
        frames = np.array(self._frames, np.int32)
        self._check_scale(table, np.cumsum(counts) - counts)
        cell, inside = self._centre_cell(table)
        if inside is not None:
            counts = np.add.reduceat(inside, np.cumsum(counts) - counts, dtype=np.intp)
            frames, counts, table, cell = frames[counts > 0], counts[counts > 0], table[inside], cell[inside]
        if len(table):
            self._lay(table, cell, counts=counts, frames=frames)
        self._clear()

    def _check_scale(self, table: NDArray[np.int64], starts: NDArray[np.intp]) -> None:
        scales = set((table[starts, 4] & 0xFFFF).tolist()) | ({self._scale} if self._scale else set())
        if len(scales) > 1:
            raise VectorError(f"expected one unit of vectors, found 1/{min(scales)} and 1/{max(scales)} px")
        self._scale = scales.pop()

    def _centre_cell(self, table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        # The cell of each vector's (dst_x, dst_y), in its frame: of a block of 8 px that block; of one of 16 px its
        # right or lower half. Also which ones lie in the picture, or None for all: coded pictures may be larger.
        width = 2 * self._columns
        cell = table[:, 1] >> 19
        cell &= 0x1FFF1FFF
        row = cell >> 16
        inside = None
        if row.max() >= 2 * self._rows or (cell & 0x1FFF).max() >= width:
            inside = (row < 2 * self._rows) & ((cell & 0x1FFF) < width)
        row *= width - (1 << 16)
        cell += row
        return cell, inside

    def _lay(
        self,
        table: NDArray[np.int64],
        cell: NDArray[np.int64],
        *,
        counts: NDArray[np.intp],
        frames: NDArray[np.int32],
    ) -> None:
        source = table.view(np.int32)[:, 0]
        num_cells = 2 * self._past.num_pairs
        if source.max() < 0:
            cell += np.repeat(np.arange(len(frames)) * num_cells, counts)
            self._scatter(self._past.extend(frames), table, cell)
            return
        is_future = source > 0
        num_future = np.add.reduceat(is_future, np.cumsum(counts) - counts, dtype=np.intp)
        in_past, in_future = num_future < counts, num_future > 0
        past_row = np.cumsum(in_past) - 1
        future_row = np.cumsum(in_future) + in_past.sum() - 1
        step = np.repeat((future_row - past_row) * num_cells, counts)
        step *= is_future
        cell += step
        cell += np.repeat(past_row * num_cells, counts)
        out = np.empty((in_past.sum() + in_future.sum(), self._past.num_pairs), np.int64)
        self._scatter(out, table, cell)
        self._past.extend(frames[in_past])[...] = out[: in_past.sum()]
        self._future.extend(frames[in_future])[...] = out[in_past.sum() :]

    def _scatter(self, out: NDArray[np.int64], table: NDArray[np.int64], cell: NDArray[np.int64]) -> None:
        out.fill(_EMPTY_PAIR)
        cells = out.reshape(-1).view(np.int32)
        # Both components side by side in 32 bits, as two int16 of one cell.
        vector = table.view(np.int32)[:, 7] << 16
        vector |= table.view(np.int32)[:, 6] & 0xFFFF
        size = table.view(np.uint16)[:, 2]
        whole = size == _BLOCK_16X16
        if whole.all():
            self._fill_pairs(cells, cell, vector, both=True)
            return
        cells[cell] = vector
        index = np.flatnonzero(whole)
        self._fill_pairs(cells, cell[index], vector[index], both=True)
        num_placed = len(index) + np.count_nonzero(size == _BLOCK_8X8)
        if num_placed < len(table):
            wide, tall = np.flatnonzero(size == _BLOCK_16X8), np.flatnonzero(size == _BLOCK_8X16)
            self._fill_pairs(cells, cell[wide], vector[wide], both=False)
            cells[cell[tall] - 2 * self._columns] = vector[tall]
            num_placed += len(wide) + len(tall)
        if num_placed < len(table):
            unknown = set(size.tolist()) - {_BLOCK_16X16, _BLOCK_8X8, _BLOCK_8X16, _BLOCK_16X8}
            sizes = [f"{code & 0xFF}x{code >> 8}" for code in sorted(unknown)]
            raise VectorError(f"expected blocks of 8 or 16 px, found {sizes}")

    def _fill_pairs(
        self, cells: NDArray[np.int32], cell: NDArray[np.int64], vector: NDArray[np.int32], *, both: bool
    ) -> None:
        # Two cells side by side at once, `cell` being the right one of them; and those above them.
        twice = vector.astype(np.int64)
        twice &= 0xFFFFFFFF
        twice |= twice << 32
        pairs = cells.view(np.int64)
        pair = cell >> 1
        pairs[pair] = twice
        if both:
            pair -= self._columns
            pairs[pair] = twice
