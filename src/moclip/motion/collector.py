"""Collect FFmpeg's block vectors of many frames into packed segments."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moclip.motion.packing import EMPTY, pack_segment

# FFmpeg's AVMotionVector, 40 bytes: int32 source, uint8 w, uint8 h, int16 src_x | int16 src_y, dst_x, dst_y, padding |
# uint64 flags | int32 motion_x, motion_y | uint16 motion_scale, padding. Read here as five little-endian int64.
_BYTES = 40

_BLOCK_16X16, _BLOCK_8X16, _BLOCK_16X8, _BLOCK_8X8 = 0x1010, 0x1008, 0x0810, 0x0808

# Structs wait in the first of these until they are read, which is fastest while they are in the processor's cache; what
# is read of them waits until there is enough for a segment.
_BUFFER_BYTES = 1 << 19

_SEGMENT_VECTORS = 1 << 16

Emit = Callable[[NDArray[np.uint8]], object]


class VectorError(ValueError):
    """The vectors of a video do not fit on one grid."""


@dataclass(frozen=True, kw_only=True)
class StreamFrames:
    """Which frames the segments of each direction hold, one field a frame, and the unit of the vectors.

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

    @classmethod
    def join(cls, parts: list["_Vectors"]) -> "_Vectors":
        return cls(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))

    def take(self, chosen: NDArray[np.bool_]) -> "_Vectors":
        """Those that are chosen, and the frames that have some."""
        counts = np.add.reduceat(chosen, np.cumsum(self.counts) - self.counts, dtype=np.int32)
        index = np.flatnonzero(chosen)
        left = counts > 0
        return _Vectors(self.frame_index[left], counts[left], self.size[index], self.cell[index], self.motion[index])

    def inside(self, *, rows: int, columns: int) -> "_Vectors":
        """Those inside the picture; coded pictures may be larger."""
        row, column = self.cell >> 17, (self.cell >> 1) & 0xFFF
        if row.max() < rows and column.max() < columns:
            return self
        return self.take((row < rows) & (column < columns))

    def pack(self, *, rows: int, columns: int) -> NDArray[np.uint8]:
        """One segment of the grid's (rows, columns) macroblocks."""
        num_blocks = rows * columns
        block = (self.cell >> 17) * columns
        block += (self.cell >> 1) & 0xFFF
        at = np.repeat(np.arange(len(self.counts)) * num_blocks, self.counts)
        at += block
        first = np.full(len(self.counts) * num_blocks, EMPTY)
        first[at] = self.motion
        parts = np.flatnonzero(self.size != _BLOCK_16X16)
        split_at, split = _split(at[parts], size=self.size[parts], cell=self.cell[parts], motion=self.motion[parts])
        first[split_at] = split[0]
        return pack_segment(first, num_fields=len(self.counts), split_at=split_at, split=split)


def _split(
    block: NDArray[np.intp], *, size: NDArray[np.uint16], cell: NDArray[np.int32], motion: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    # Of the macroblocks that hold these smaller blocks: their indices, ascending, and (4, N) cells.
    is_next = block[1:] != block[:-1]
    if (block[1:] < block[:-1]).any():
        split_at, number = np.unique(block, return_inverse=True)
    else:  # as FFmpeg lists them
        split_at = block[np.concatenate([np.full(min(1, len(block)), True), is_next])]
        number = np.concatenate([np.zeros(1, np.intp), np.cumsum(is_next)])[: len(block)]
    # The quarter of its macroblock that holds a block's centre; of a wide or a tall block, its last quarter.
    place = (cell & 1) + ((cell >> 15) & 2) + 4 * number
    cells = np.full(4 * len(split_at), EMPTY)
    cells[place] = motion
    if (size != _BLOCK_8X8).any():
        wide, tall = np.flatnonzero(size == _BLOCK_16X8), np.flatnonzero(size == _BLOCK_8X16)
        cells[place[wide] - 1] = motion[wide]
        cells[place[tall] - 2] = motion[tall]
        if len(wide) + len(tall) + np.count_nonzero(size == _BLOCK_8X8) < len(size):
            unknown = set(size.tolist()) - {_BLOCK_8X8, _BLOCK_8X16, _BLOCK_16X8}
            sizes = [f"{code & 0xFF}x{code >> 8}" for code in sorted(unknown)]
            raise VectorError(f"expected blocks of 8 or 16 px, found {sizes}")
    return split_at, np.ascontiguousarray(cells.reshape(-1, 4).T)


class _Direction:
    """The vectors that point one way in time, and the segments that they fill."""

    def __init__(self, emit: Emit, *, rows: int, columns: int) -> None:
        self._emit, self._rows, self._columns = emit, rows, columns
        self._waiting: list[_Vectors] = []
        self._num_waiting = 0
        self._frame_index = [np.empty(0, np.int32)]

    def add(self, vectors: _Vectors) -> None:
        if len(vectors.cell):
            self._waiting.append(vectors)
            self._num_waiting += len(vectors.cell)
            if self._num_waiting >= _SEGMENT_VECTORS:
                self._flush()

    def finish(self) -> NDArray[np.int32]:
        """The frames of all the segments."""
        self._flush()
        return np.concatenate(self._frame_index)

    def _flush(self) -> None:
        if not self._waiting:
            return
        vectors = _Vectors.join(self._waiting).inside(rows=self._rows, columns=self._columns)
        if len(vectors.cell):
            self._emit(vectors.pack(rows=self._rows, columns=self._columns))
            self._frame_index.append(vectors.frame_index)
        self._waiting, self._num_waiting = [], 0


class MotionStream:
    """Collects the block vectors of frames and hands on segments of `motion.packing` as they fill up."""

    def __init__(self, *, width_px: int, height_px: int, emit_past: Emit, emit_future: Emit) -> None:
        """Take the size of the picture, and who gets the segments of each direction."""
        columns, rows = -(-width_px // 16), -(-height_px // 16)
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
        """Hand on what is left, and return the frames of all the segments.

        Raises:
            VectorError: As `add` does.
        """
        self._read()
        past, future = self._past.finish(), self._future.finish()
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
