"""Vector fields in few bytes, and back. Pure numpy.

The fields of one direction of a video are a row of segments of any number of fields each. A segment is, little-endian:

1. the number of its fields, and of the vectors written down in it, two uint32;
2. `kind`, one byte a macroblock of 16 x 16 px, field by field in raster order. Its cells are numbered upper left 0,
   upper right 1, lower left 2, lower right 3. Bit 4 + i says that cell i has a vector, bit i that it is written down:
   not where it is what is expected of cell i. Expected of 1 and 2 is what 0 has; of 3, what 2 has where that is written
   down, else what 1 has; of a cell without a vector, what is expected of it, and of 0, zero;
3. `low`, two bytes (x, y) a vector that is written down: all of cells 0, then all of 1, 2 and 3. What is written is a
   difference: of cell 0 to the cell 0 written before it in the segment, of the others to what is expected. A vector
   counts as the number 65536 y + x, modulo 2^32, and so does a difference. The sign of its x and y is moved to bit 0,
   and 255 stands for 255 and more;
4. `high`, uint16, one for each 255 in `low`: the whole of it.
"""

import numpy as np
from numpy.typing import NDArray

NO_VECTOR = -32768

# A cell without a vector: both components in one int32, x below y, as in memory.
EMPTY = np.array([NO_VECTOR] * 2, np.int16).view(np.int32)[0]

_ALIKE = 0xF1  # the kind of a macroblock whose cells all have the vector of its first one

_HEADER_BYTES = 8

_ESCAPE = 255

_TWICE = (1 << 32) + 1  # times this, an unsigned number of 32 bits stands in both halves of 64

_BIT = np.arange(8, dtype=np.uint8)[:, None]

_SEGMENT_BLOCKS = 1 << 14


def pack_segment(
    first: NDArray[np.int32], *, num_fields: int, split_at: NDArray[np.intp], split: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """Return one segment.

    Args:
        first: (num_fields * macroblocks,) the vector of cell 0 of each macroblock, `EMPTY` where it has none.
        num_fields: Number of fields.
        split_at: (N,) ascending indices of the macroblocks whose cells differ; in the others all four are equal.
        split: (4, N) the cells of those.
    """
    has_first = first != EMPTY
    kind = np.multiply(has_first, _ALIKE, dtype=np.uint8)
    written = _as_numbers(first[np.flatnonzero(has_first)])
    expected = np.empty_like(written)
    expected[:1], expected[1:] = 0, written[:-1]
    if len(split_at):
        own, held, neighbour = _compare_cells(split)
        index = np.flatnonzero(own[1:])
        written = np.concatenate([written, held[1:].reshape(-1)[index]])
        expected = np.concatenate([expected, neighbour.reshape(-1)[index]])
        bits = np.concatenate([own, split != EMPTY]).view(np.uint8)
        kind[split_at] = np.bitwise_or.reduce(bits << _BIT, axis=0)
    difference = _as_vectors(written - expected).view(np.int16)
    code = ((difference << 1) ^ (difference >> 15)).view(np.uint16)
    header = np.array([num_fields, len(written)], "<u4").view(np.uint8)
    high = code[code >= _ESCAPE].astype("<u2")
    low = np.minimum(code, _ESCAPE).astype(np.uint8)
    return np.concatenate([header, kind, low, high.view(np.uint8)])


def _compare_cells(
    split: NDArray[np.int32],
) -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]:
    # Of (4, N) cells: which are written down, what each has or is expected to have, and what (3, N) are expected to.
    own, held = split != EMPTY, _as_numbers(split)
    held[0][~own[0]] = 0
    np.copyto(held[1:3], held[0], where=~own[1:3])
    own[1:3] &= held[1:3] != held[0]
    expected = np.stack([held[0], held[0], np.where(own[2], held[2], held[1])])
    own[3] &= held[3] != expected[2]
    return own, held, expected


def _as_numbers(vectors: NDArray[np.int32]) -> NDArray[np.int32]:
    # From two int16 side by side to 65536 y + x: one sum then adds up both.
    return vectors - ((vectors & 0x8000) << 1)


def _as_vectors(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    return numbers + ((numbers & 0x8000) << 1)


def pack_fields(vectors: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return the segments of (N, Hb, Wb, 2) int16 fields, whose Hb and Wb are even."""
    number, height, width, _ = vectors.shape
    at_once = max(1, _SEGMENT_BLOCKS // max(1, height * width // 4))
    parts = [_pack_some(vectors[start : start + at_once]) for start in range(0, number, at_once)]
    return np.concatenate([np.empty(0, np.uint8), *parts])


def _pack_some(vectors: NDArray[np.int16]) -> NDArray[np.uint8]:
    number, height, width, _ = vectors.shape
    cells = np.ascontiguousarray(vectors).view(np.int32).reshape(number, height // 2, 2, width // 2, 2)
    blocks = cells.transpose(2, 4, 0, 1, 3).reshape(4, -1)
    split_at = np.flatnonzero((blocks != blocks[0]).any(axis=0))
    return pack_segment(blocks[0], num_fields=number, split_at=split_at, split=blocks[:, split_at])


def unpack_fields(packed: NDArray[np.uint8], *, num_fields: int, height: int, width: int) -> NDArray[np.int16]:
    """Return the (num_fields, 2 height, 2 width, 2) int16 fields of segments, `NO_VECTOR` where a cell has none.

    `height` and `width` count macroblocks.

    Raises:
        ValueError: The segments are not those of so many fields of this size.
    """
    fields = np.empty((num_fields, height, 2, width), np.int64)
    done = at = 0
    while at + _HEADER_BYTES <= len(packed):
        number, num_written = packed[at : at + _HEADER_BYTES].view("<u4").tolist()
        if done + number > num_fields:
            break
        segment = packed[at + _HEADER_BYTES :]
        at += _HEADER_BYTES + _unpack_segment(segment, num_written=num_written, into=fields[done : done + number])
        done += number
    if done != num_fields or at != len(packed):
        raise ValueError(f"expected {num_fields} fields in {len(packed)} bytes, found {done} in {at}")
    return fields.view(np.int16).reshape(num_fields, 2 * height, 2 * width, 2)


def _unpack_segment(segment: NDArray[np.uint8], *, num_written: int, into: NDArray[np.int64]) -> int:
    # Returns the number of bytes read.
    number, height, _, width = into.shape
    kind = segment[: number * height * width]
    has_first = np.flatnonzero((kind & 1).view(np.bool_))
    differences, num_bytes = _read_differences(segment[len(kind) :], num_written=num_written)
    numbers = np.cumsum(differences[: len(has_first)], dtype=np.int32)
    first = np.full(len(kind), EMPTY)
    first[has_first] = _as_vectors(numbers)
    pairs = first.view(np.uint32).astype(np.int64)
    pairs *= _TWICE
    into[:, :, 0] = into[:, :, 1] = pairs.reshape(number, height, width)
    split_at = np.flatnonzero((kind != _ALIKE) & (kind != 0))
    if len(split_at):
        upper, lower = _split_pairs(first[split_at], kind=kind[split_at], differences=differences[len(has_first) :])
        # Of (fields, height, 2, width) in one dimension, the place of the upper pair; the lower one is a line below.
        place = split_at + split_at // width * width
        into.reshape(-1)[place], into.reshape(-1)[place + width] = upper, lower
    return len(kind) + num_bytes


def _read_differences(low: NDArray[np.uint8], *, num_written: int) -> tuple[NDArray[np.int32], int]:
    # (num_written,): what was written down, as numbers. And how many bytes it took.
    num_low = 2 * num_written
    escaped = np.flatnonzero(low[:num_low] == _ESCAPE)
    num_high = 2 * len(escaped)
    code = low[:num_low].astype(np.uint16)
    if num_high:
        code[escaped] = np.frombuffer(low[num_low : num_low + num_high].tobytes(), "<u2")
    signed = ((code >> 1) ^ -(code & 1)).view(np.int32)
    return _as_numbers(signed), num_low + num_high


def _split_pairs(
    first: NDArray[np.int32], *, kind: NDArray[np.uint8], differences: NDArray[np.int32]
) -> NDArray[np.int64]:
    # (2, N): the upper and the lower cells of macroblocks whose cells differ.
    own, has = (((kind >> bits) & 1).view(np.bool_) for bits in (_BIT[1:4], _BIT[4:]))
    held = np.zeros((4, len(first)), np.int32)
    # By index, and copies under a mask: numpy takes several times as long to set by a mask, or to choose by one.
    held[1:].reshape(-1)[np.flatnonzero(own)] = differences
    np.copyto(held[0], _as_numbers(first), where=has[0])
    held[1:3] += held[0]
    expected = held[1].copy()
    np.copyto(expected, held[2], where=own[1])
    held[3] += expected
    cells = _as_vectors(held)
    np.copyto(cells, EMPTY, where=~has)
    pairs = cells.view(np.uint32)[1::2].astype(np.int64) << 32
    pairs |= cells.view(np.uint32)[0::2]
    return pairs
