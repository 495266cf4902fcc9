"""Collect FFmpeg's block vectors of many frames into vector fields."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moclip.motion.vectors import EMPTY, grid_shape

# FFmpeg's AVMotionVector, 40 bytes: int32 source, uint8 w, uint8 h, int16 src_x | int16 src_y, dst_x, dst_y, padding |
# uint64 flags | int32 motion_x, motion_y | uint16 motion_scale, padding. Read here as five little-endian int64.
_BYTES = 40

_BLOCK_16X16, _BLOCK_8X16, _BLOCK_16X8, _BLOCK_8X8 = 0x1010, 0x1008, 0x0810, 0x0808

# Structs wait in a buffer of this size until they are read, which is fastest while they are in the processor's cache.
_BUFFER_BYTES = 1 << 19

# Both halves of this times an unsigned number of 32 bits hold the number.
_TWICE = (1 << 32) + 1

Emit = Callable[[NDArray[np.int16]], object]


class VectorError(ValueError):
    """The vectors of a video do not fit on one grid."""


@dataclass(frozen=True, kw_only=True)
class StreamFrames:
    """The frame of each emitted field of each direction, and the unit of the vectors.

    `motion_scale` is 0 where there was no vector at all.
    """

    past_frame_index: NDArray[np.int32]
    future_frame_index: NDArray[np.int32]
    motion_scale: int


@dataclass(frozen=True)
class _Vectors:
    """What counts of some vectors, frame by frame, as columns.

    Attributes:
        frame_index: (F,) int32.
        counts: (F,) int32, number of vectors of each of these frames.
        size: (N,) uint16, width and height of the block, one byte each.
        cell: (N,) int32, the cell of 8 x 8 px that holds the block's centre (dst_x, dst_y): column below, row above.
        motion: (N,) int32, both components side by side, as two int16 of one cell of the grid.
    """

    frame_index: NDArray[np.int32]
    counts: NDArray[np.int32]
    size: NDArray[np.uint16]
    cell: NDArray[np.int32]
    motion: NDArray[np.int32]

    @classmethod
    def read(cls, table: NDArray[np.int64], *, frame_index: list[int], counts: list[int]) -> "_Vectors":
        cell = (table[:, 1] >> 19).view(np.int32)[::2] & 0x1FFF1FFF
        motion = table.view(np.int32)[:, 7] << 16
        motion |= table.view(np.int32)[:, 6] & 0xFFFF
        size = table.view(np.uint16)[:, 2].copy()
        return cls(np.array(frame_index, np.int32), np.array(counts, np.int32), size, cell, motion)

    def take(self, chosen: NDArray[np.bool_]) -> "_Vectors":
        """Those that are chosen, and the frames that have some."""
        counts = np.add.reduceat(chosen, np.cumsum(self.counts) - self.counts, dtype=np.int32)
        index = np.flatnonzero(chosen)
        left = counts > 0
        return _Vectors(self.frame_index[left], counts[left], self.size[index], self.cell[index], self.motion[index])

    def inside(self, *, rows: int, columns: int) -> "_Vectors":
        """Those inside the picture; coded pictures may be larger."""
        row, column = self.cell >> 17, (self.cell >> 1) & 0xFFF
        if not len(row) or (row.max() < rows and column.max() < columns):
            return self
        return self.take((row < rows) & (column < columns))

    def to_fields(self, *, rows: int, columns: int) -> NDArray[np.int16]:
        """(F, 2 * rows, 2 * columns, 2) fields on a grid of 8 x 8 px cells, of (rows, columns) macroblocks."""
        num_frames = len(self.counts)
        frame = np.repeat(np.arange(num_frames) * (rows * columns), self.counts)
        block = frame + (self.cell >> 17) * columns + ((self.cell >> 1) & 0xFFF)
        blocks = np.full(num_frames * rows * columns, EMPTY)
        blocks[block] = self.motion
        parts = np.flatnonzero(self.size != _BLOCK_16X16)
        blocks[block[parts]] = EMPTY
        # The two cells of a macroblock side by side are one item.
        pairs = blocks.view(np.uint32).astype(np.int64)
        pairs *= _TWICE
        fields = np.empty((num_frames, rows, 2, columns), np.int64)
        fields[:, :, 0] = fields[:, :, 1] = pairs.reshape(num_frames, rows, columns)
        if len(parts):
            cell = self.cell[parts]
            place = 4 * frame[parts] + (cell >> 16) * (2 * columns) + (cell & 0xFFFF)
            _set_parts(
                fields.view(np.int32).reshape(-1), place, self.size[parts], self.motion[parts], below=2 * columns
            )
        return fields.view(np.int16).reshape(num_frames, 2 * rows, 2 * columns, 2)


def _set_parts(
    cells: NDArray[np.int32],
    place: NDArray[np.intp],
    size: NDArray[np.uint16],
    motion: NDArray[np.int32],
    *,
    below: int,
) -> None:
    # The place is the cell that holds a block's centre, which is the last cell of a wide or a tall block.
    cells[place] = motion
    num_known = np.count_nonzero(size == _BLOCK_8X8)
    if num_known == len(size):
        return
    for shape, distance in ((_BLOCK_16X8, 1), (_BLOCK_8X16, below)):
        index = np.flatnonzero(size == shape)
        cells[place[index] - distance] = motion[index]
        num_known += len(index)
    if num_known < len(size):
        unknown = set(size.tolist()) - {_BLOCK_8X8, _BLOCK_8X16, _BLOCK_16X8}
        sizes = [f"{code & 0xFF}x{code >> 8}" for code in sorted(unknown)]
        raise VectorError(f"expected blocks of 8 or 16 px, found {sizes}")


class _Direction:
    """The vectors that point one way in time."""

    def __init__(self, emit: Emit, *, rows: int, columns: int) -> None:
        self._emit, self._rows, self._columns = emit, rows, columns
        self._frame_index = [np.empty(0, np.int32)]

    def add(self, vectors: _Vectors) -> None:
        vectors = vectors.inside(rows=self._rows, columns=self._columns)
        if len(vectors.cell):
            self._emit(vectors.to_fields(rows=self._rows, columns=self._columns))
            self._frame_index.append(vectors.frame_index)

    def frame_index(self) -> NDArray[np.int32]:
        return np.concatenate(self._frame_index)


class MotionStream:
    """Collects the block vectors of frames and emits vector fields, those of many frames at a time."""

    def __init__(self, *, width_px: int, height_px: int, emit_past: Emit, emit_future: Emit) -> None:
        """Take the size of the picture, and the functions that take the fields of each direction."""
        rows, columns = (cells // 2 for cells in grid_shape(width_px=width_px, height_px=height_px))
        self._past = _Direction(emit_past, rows=rows, columns=columns)
        self._future = _Direction(emit_future, rows=rows, columns=columns)
        self._scale = 0
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._clear()

    def _clear(self) -> None:
        self._used = 0
        self._counts: list[int] = []
        self._frame_index: list[int] = []

    def add(self, frame_index: int, vectors: memoryview) -> None:
        """Take the vectors of a frame, FFmpeg's structs as bytes, which are copied.

        Raises:
            VectorError: The unit of the vectors changes, or a block has another size than the grid can hold.
        """
        start, stop = self._used, self._used + len(vectors)
        if stop > len(self._buffer):
            self._read()
            start, stop = 0, len(vectors)
            if stop > len(self._buffer):
                self._buffer = memoryview(bytearray(2 * stop))
        self._buffer[start:stop] = vectors
        self._used = stop
        self._counts.append(len(vectors) // _BYTES)
        self._frame_index.append(frame_index)

    def finish(self) -> StreamFrames:
        """Emit the fields that are left, and return the frames of all fields.

        Raises:
            VectorError: As `add` does.
        """
        self._read()
        past, future = self._past.frame_index(), self._future.frame_index()
        return StreamFrames(past_frame_index=past, future_frame_index=future, motion_scale=self._scale)

    def _read(self) -> None:
        if not self._used:
            return
        table = np.frombuffer(self._buffer[: self._used], np.int64).reshape(-1, 5)
        vectors = _Vectors.read(table, frame_index=self._frame_index, counts=self._counts)
        self._check_scale(table[np.cumsum(vectors.counts) - vectors.counts, 4])
        source = table.view(np.int32)[:, 0]
        if source.max() < 0:
            self._past.add(vectors)
        else:
            self._past.add(vectors.take(source < 0))
            self._future.add(vectors.take(source > 0))
        self._clear()

    def _check_scale(self, ends: NDArray[np.int64]) -> None:
        # The end of the first struct of each frame.
        scales = set((ends & 0xFFFF).tolist()) | ({self._scale} if self._scale else set())
        if len(scales) > 1:
            raise VectorError(f"expected one unit of vectors, found 1/{min(scales)} and 1/{max(scales)} px")
        self._scale = scales.pop()
