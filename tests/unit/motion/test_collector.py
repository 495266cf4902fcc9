from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moclip.motion import collector as motion_stream
from moclip.motion.collector import MotionStream, StreamFrames, VectorError
from moclip.motion.vectors import NO_VECTOR, grid_shape

# FFmpeg's AVMotionVector as libavutil/motion_vector.h has it.
STRUCT = np.dtype(
    [
        ("source", np.int32),
        ("w", np.uint8),
        ("h", np.uint8),
        ("src_x", np.int16),
        ("src_y", np.int16),
        ("dst_x", np.int16),
        ("dst_y", np.int16),
        ("flags", np.uint64),
        ("motion_x", np.int32),
        ("motion_y", np.int32),
        ("motion_scale", np.uint16),
    ],
    align=True,
)
# The parts of a macroblock: (w, h, x and y of the corner).
SPLITS: tuple[tuple[tuple[int, int, int, int], ...], ...] = (
    ((16, 16, 0, 0),),
    ((16, 8, 0, 0), (16, 8, 0, 8)),
    ((8, 16, 0, 0), (8, 16, 8, 0)),
    tuple((8, 8, x, y) for y in (0, 8) for x in (0, 8)),
)


def make_blocks(blocks: Sequence[tuple[int, ...]], *, scale: int = 4) -> NDArray[np.void]:
    """Structs of (source, w, h, corner x, corner y, motion x, motion y), with noise where C leaves memory as it was."""
    table = np.frombuffer(np.random.default_rng(1).bytes(STRUCT.itemsize * len(blocks)), STRUCT).copy()
    for struct, (source, w, h, x, y, motion_x, motion_y) in zip(table, blocks, strict=True):
        values = (source, w, h, 0, 0, x + w // 2, y + h // 2, 0, motion_x, motion_y, scale)
        for name, value in zip(STRUCT.names or (), values, strict=True):
            struct[name] = value
    return table


def fields_of(
    frames: dict[int, NDArray[np.void]], *, width_px: int = 48, height_px: int = 32
) -> tuple[StreamFrames, NDArray[np.int16], NDArray[np.int16]]:
    """What the stream says of its frames, and the fields of each direction."""
    none = np.empty((0, *grid_shape(width_px=width_px, height_px=height_px), 2), np.int16)
    emitted: tuple[list[NDArray[np.int16]], ...] = ([none], [none])
    stream = MotionStream(
        width_px=width_px, height_px=height_px, emit_past=emitted[0].append, emit_future=emitted[1].append
    )
    for index, table in frames.items():
        stream.add(index, memoryview(table.tobytes()))
    found = stream.finish()
    past, future = (np.concatenate(fields) for fields in emitted)
    return found, past, future


@st.composite
def frames_of_blocks(draw: st.DrawFn) -> tuple[int, int, dict[int, list[tuple[int, ...]]]]:
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reach = draw(st.sampled_from([2, 300, 32767]))
    directions = draw(st.sampled_from([(-1,), (-1,), (-1, 1), (1,)]))
    kinds = draw(st.sampled_from([(0,), (0, 3), (3,), (0, 1, 2, 3)]))
    frames = {}
    for index in sorted(draw(st.sets(st.integers(0, 20), max_size=6))):
        blocks = []
        for place in range(columns * rows):
            for w, h, x, y in SPLITS[rng.choice(kinds)]:
                for source in directions:
                    if rng.random() < 0.8:
                        corner = (place % columns * 16 + x, place // columns * 16 + y)
                        blocks.append((source, w, h, *corner, *rng.integers(-reach, reach + 1, 2).tolist()))
        frames[index] = blocks
    return columns, rows, {index: blocks for index, blocks in frames.items() if blocks}


@settings(max_examples=80, deadline=None)
@given(case=frames_of_blocks(), edge=st.integers(0, 15), full=st.sampled_from([0, 200, 1 << 20]))
def test_the_fields_hold_every_block_of_every_frame_in_its_direction(
    case: tuple[int, int, dict[int, list[tuple[int, ...]]]], edge: int, full: int
) -> None:
    columns, rows, frames = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion_stream, "_BUFFER_BYTES", full)
        result, past, future = fields_of(
            {index: make_blocks(blocks) for index, blocks in frames.items()},
            width_px=16 * columns - edge,
            height_px=16 * rows - edge,
        )
    for source, fields, indices in (
        (-1, past, result.past_frame_index),
        (1, future, result.future_frame_index),
    ):
        assert indices.tolist() == [index for index, blocks in frames.items() if any(b[0] == source for b in blocks)]
        for field, index in zip(fields, indices.tolist(), strict=True):
            plain = np.full((2 * rows, 2 * columns, 2), NO_VECTOR)
            for direction, w, h, x, y, motion_x, motion_y in frames[index]:
                if direction == source:
                    plain[y // 8 : (y + h) // 8, x // 8 : (x + w) // 8] = (motion_x, motion_y)
            np.testing.assert_array_equal(field, plain)


def test_blocks_in_any_order_give_the_same_fields() -> None:
    blocks = [(-1, w, h, 16 * at + x, y, 4 * at, x + y) for at in range(3) for w, h, x, y in SPLITS[at]]
    _, ordered, _ = fields_of({0: make_blocks(blocks)})
    _, reversed_, _ = fields_of({0: make_blocks(blocks[::-1])})
    np.testing.assert_array_equal(ordered, reversed_)


def test_blocks_wholly_outside_the_picture_are_left_out() -> None:
    inside, right, below = (-1, 16, 16, 32, 16, 4, 8), (-1, 16, 16, 48, 0, 1, 1), (-1, 8, 8, 0, 32, 2, 2)
    result, past, _ = fields_of({0: make_blocks([right, below]), 1: make_blocks([right, inside, below])})
    assert result.past_frame_index.tolist() == [1]
    assert (past[0, 2:, 4:] == (4, 8)).all()
    assert (past != NO_VECTOR).any(axis=-1).sum() == 4


def test_a_video_without_vectors_gives_empty_fields_of_the_right_shape() -> None:
    result, past, future = fields_of({})
    assert past.shape == future.shape == (0, 4, 6, 2)
    assert result.motion_scale == 0


def test_a_unit_that_changes_inside_the_video_is_refused() -> None:
    block = (-1, 16, 16, 0, 0, 4, 4)
    with pytest.raises(VectorError, match="found 1/2 and 1/4 px"):
        fields_of({0: make_blocks([block], scale=2), 1: make_blocks([block], scale=4)})


def test_a_block_that_the_grid_cannot_hold_is_refused() -> None:
    with pytest.raises(VectorError, match="found \\['4x4'\\]"):
        fields_of({0: make_blocks([(-1, 4, 4, 0, 0, 4, 4)])})
