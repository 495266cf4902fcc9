"""Physical truths of the pictures: what moves right is drawn to the right, in the colour of right."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from moclip.motion.fields import FieldSpec, build_fields
from moclip.motion.vectors import NO_VECTOR, MotionVectors
from moclip.pictures.vectors import (
    FUTURE_COLOUR,
    PAST_COLOUR,
    cells_of_frame,
    cells_without_vector,
    colour_field,
    draw_code,
    draw_vectors,
    draw_wheel,
    lay_over,
    list_blocks,
)
from moclip.video.motion_vectors import read_motion
from tests.unit.video.test_motion_vectors import encode, pan, render

SIDE_PX = 320
# Directions in px, and where they lie on the rim of a wheel of `SIDE_PX`.
RIGHT, DOWN, LEFT, UP = (1, 0), (0, 1), (-1, 0), (0, -1)


def make_motion(cells: Any, *, future: Any = None, width: int = 64, height: int = 48, scale: int = 4) -> MotionVectors:
    """A video of two frames whose second one has these (Hb, Wb, 2) vectors."""
    past = np.asarray(cells, np.int16)[None]
    return MotionVectors(
        past=past,
        past_frame_index=np.array([1], np.int32),
        future=np.empty((0, *past.shape[1:]), np.int16) if future is None else np.asarray(future, np.int16)[None],
        future_frame_index=np.array([] if future is None else [1], np.int32),
        picture_type=np.frombuffer(b"IP", np.uint8),
        is_keyframe=np.array([True, False]),
        time_seconds=np.array([0, 0.04]),
        motion_scale=scale,
        width_px=width,
        height_px=height,
        rotation_degrees=0,
        is_mirrored=False,
        codec_name="h264",
        frame_rate=25.0,
        source="original",
    )


def empty_cells(*, width: int = 64, height: int = 48) -> NDArray[np.int16]:
    return np.full((height // 8, width // 8, 2), NO_VECTOR, np.int16)


def draw(motion: MotionVectors, *, scale: int = 4) -> NDArray[np.uint8]:
    return draw_vectors(motion, frame_index=1, width_px=scale * motion.width_px, height_px=scale * motion.height_px)


def is_colour(layer: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (np.abs(layer[..., :3].astype(int) - colour).max(axis=-1) <= 2) & (layer[..., 3] > 250)


def one_arrow(*, vector: tuple[int, int], is_future: bool) -> NDArray[np.bool_]:
    """The full-coloured pixels of a picture of 4 px a px with one block, its middle at (24, 24), its vector so."""
    cells = np.zeros_like(empty_cells())
    cells[2:4, 2:4] = vector
    zero = np.zeros_like(cells)
    motion = make_motion(zero if is_future else cells, future=cells if is_future else None)
    still = draw(make_motion(zero, future=zero if is_future else None))
    return is_colour(draw(motion), FUTURE_COLOUR if is_future else PAST_COLOUR) & (still[..., 3] == 0)


@pytest.mark.parametrize(
    ("vector", "is_future", "tail", "tip"),
    [
        # FFmpeg's vector points to the source: -8 px in the past is content that came 8 px from the left.
        ((-32, 0), False, (16, 24), (24, 24)),
        ((0, -32), False, (24, 16), (24, 24)),
        ((32, 0), False, (32, 24), (24, 24)),
        # +8 px into the future is content that goes on 8 px to the right.
        ((32, 0), True, (24, 24), (32, 24)),
        ((0, -32), True, (24, 24), (24, 16)),
    ],
)
def test_an_arrow_runs_from_where_content_was_to_where_it_is(
    vector: tuple[int, int], is_future: bool, tail: tuple[int, int], tip: tuple[int, int]
) -> None:
    shown = one_arrow(vector=vector, is_future=is_future)
    rows, columns = np.nonzero(shown)
    low, high = np.minimum(tail, tip), np.maximum(tail, tip)
    along = 0 if tail[1] == tip[1] else 1
    place = np.stack([columns, rows], axis=-1)[:, along] / 4
    assert place.min() == pytest.approx(low[along], abs=0.6)
    assert place.max() == pytest.approx(high[along], abs=0.6)
    # The head, wider than the line, is at the tip.
    across = np.stack([columns, rows], axis=-1)[:, 1 - along]
    near_tip = np.abs(place - tip[along]) < np.abs(place - tail[along])
    assert np.ptp(across[near_tip]) >= np.ptp(across[~near_tip]) + 4


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_a_pan_to_the_right_draws_arrows_to_the_right(tmp_path: Path, codec: str) -> None:
    motion = read_motion(encode(tmp_path / "v.mp4", render(6, warp=pan(4, 0)), codec=codec), video_id="v")
    blocks = list_blocks(cells_of_frame(motion, 3, is_future=False), motion=motion, is_future=False)
    inside = (np.abs(blocks.centre_px - (80, 56)) < (48, 24)).all(axis=1)
    assert inside.sum() >= 12
    assert np.mean((blocks.motion_px[inside] == (4, 0)).all(axis=1)) > 0.9
    raw = build_fields(motion, [3], spec=FieldSpec(kind="raw"))[0]
    right = colour_field(np.array([[[4, 0]]], np.float32), max_px=20)[0, 0]
    assert np.mean((colour_field(raw, max_px=20)[32:-32, 32:-32] == right).all(axis=-1)) > 0.9


def test_past_and_future_vectors_of_a_pan_point_the_same_way(tmp_path: Path) -> None:
    path = encode(tmp_path / "b.mp4", render(13, warp=pan(4, 0)), codec="h264", max_b_frames=2)
    motion = read_motion(path, video_id="b")
    last_b = int(motion.future_frame_index[-1])
    for is_future in (False, True):
        cells = cells_of_frame(motion, last_b, is_future=is_future)
        blocks = list_blocks(cells, motion=motion, is_future=is_future)
        assert np.median(blocks.motion_px[:, 0]) > 0
    layer = draw_vectors(motion, frame_index=last_b, width_px=640, height_px=448)
    assert is_colour(layer, PAST_COLOUR).sum() > 100
    assert is_colour(layer, FUTURE_COLOUR).sum() > 100


def test_accumulated_motion_reaches_the_full_colour_of_right(tmp_path: Path) -> None:
    motion = read_motion(encode(tmp_path / "v.mp4", render(9, warp=pan(4, 0))), video_id="v")
    fields = build_fields(motion, range(1, 9), spec=FieldSpec())
    wheel = draw_wheel(size_px=SIDE_PX, max_px=20)
    middle = SIDE_PX // 2
    for t, field in enumerate(fields, start=1):
        shown = colour_field(field, max_px=20)[56, 96].astype(int)
        # On the root scale 4t of 20 px lie at the root of that share of the radius.
        radius = min(1, np.sqrt(4 * t / 20)) * (middle - 1)
        assert np.abs(shown - wheel[middle, int(middle + radius), :3]).max() <= 4
    rim = colour_field(np.array([[[20, 0], [400, 0]]], np.float32), max_px=20)[0]
    np.testing.assert_array_equal(colour_field(fields[7], max_px=20)[56, 96], rim[0])
    np.testing.assert_array_equal(rim[0], rim[1])


def test_a_colour_tells_the_direction_and_its_depth_the_length() -> None:
    directions = np.array([RIGHT, DOWN, LEFT, UP], np.float32)
    full = colour_field(20 * directions[None], max_px=20)[0].astype(int)
    red, green, blue = full.T
    assert red[0] > max(green[0], blue[0]) + 60  # right is red
    assert green[1] > blue[1] + 60  # down is green
    assert min(green[2], blue[2]) > red[2] + 60  # left is blue-green
    assert blue[3] > green[3] + 60  # up is violet
    lengths = np.array([0, 0.25, 1, 4, 9, 16, 20], np.float32)
    grey = colour_field(lengths[:, None, None] * directions, max_px=20) @ [0.299, 0.587, 0.114]
    assert (grey[0] == 255).all(), "no motion is white"
    assert (np.diff(grey, axis=0) < 0).all(), "the longer, the deeper"
    assert np.ptp(grey[-1]) < 25, "no direction looks stronger than another"


def test_the_wheel_is_clear_outside_of_its_rim() -> None:
    wheel = draw_wheel(size_px=SIDE_PX, max_px=20)
    assert wheel.shape == (SIDE_PX, SIDE_PX, 4)
    assert wheel[[0, 0, -1, -1], [0, -1, 0, -1], 3].tolist() == [0] * 4
    assert wheel[SIDE_PX // 2, SIDE_PX // 2].min() > 245


def test_cells_without_a_vector_are_striped_and_cells_that_stand_still_are_not() -> None:
    cells = np.zeros_like(empty_cells())
    cells[:, 4:] = NO_VECTOR
    motion = make_motion(cells)
    assert cells_without_vector(motion, 1)[:, 4:].all()
    assert not cells_without_vector(motion, 1)[:, :4].any()
    layer = draw(motion)
    half = layer.shape[1] // 2
    assert layer[:, half:, 3].min() > 80
    assert 0.25 < np.mean(layer[:, half:, :3].min(axis=-1) > 120) < 0.45, "light stripes on dark ground"
    assert np.mean(layer[:, :half, 3] > 0) < 0.05, "a dot a block, and nothing else"
    assert (layer[:, :half, 3] > 0).any()


def test_a_cell_that_only_a_future_vector_covers_is_not_striped() -> None:
    future = empty_cells()
    future[:2] = 0
    motion = make_motion(empty_cells(), future=future)
    assert cells_without_vector(motion, 1).sum() == future[..., 0].size - 2 * future.shape[1]
    assert cells_without_vector(motion, 0).all(), "a keyframe has none at all"


def test_mirroring_a_video_mirrors_what_is_drawn() -> None:
    rng = np.random.default_rng(3)
    cells = np.kron(rng.integers(-40, 40, (3, 4, 2)), np.ones((2, 2, 1), int))
    cells[:2, :2] = rng.integers(-40, 40, (2, 2, 2))
    mirrored = cells[:, ::-1] * (-1, 1)
    one, other = draw(make_motion(cells)), draw(make_motion(mirrored))
    # Two strokes of a head swap places, which rounds a few pixels of its point otherwise.
    assert np.mean(np.abs(one[:, ::-1].astype(int) - other)[..., 3] > 2) < 0.01
    # Colours of clear pixels mean nothing.
    opaque = one[:, ::-1, 3] > 200
    assert np.abs(one[:, ::-1, :3].astype(int) - other[..., :3])[opaque].max() <= 4


def test_blocks_are_the_partitions_that_the_vectors_show() -> None:
    cells = empty_cells(width=64, height=16)
    cells[:, 0:2] = (4, 0)  # one of 16 x 16
    cells[0, 2:4], cells[1, 2:4] = (4, 0), (8, 0)  # two of 16 x 8
    cells[:, 4], cells[:, 5] = (0, 4), (0, 8)  # two of 8 x 16
    cells[0, 6], cells[0, 7], cells[1, 6] = (1, 0), (2, 0), (3, 0)  # three of 8 x 8, the fourth is intra
    motion = make_motion(cells, width=64, height=16)
    blocks = list_blocks(cells, motion=motion, is_future=False)
    found = sorted(map(tuple, np.concatenate([blocks.centre_px, blocks.motion_px], axis=1).tolist()))
    assert found == [
        (8, 8, -1, 0),
        (24, 4, -1, 0),
        (24, 12, -2, 0),
        (36, 8, 0, -1),
        (44, 8, 0, -2),
        (52, 4, -0.25, 0),
        (52, 12, -0.75, 0),
        (60, 4, -0.5, 0),
    ]


def test_a_block_that_hangs_over_the_edge_has_its_middle_in_the_picture() -> None:
    cells = np.zeros_like(empty_cells(width=64, height=48))
    motion = make_motion(cells, width=52, height=40)
    blocks = list_blocks(cells, motion=motion, is_future=False)
    assert blocks.centre_px.max(axis=0).tolist() == [50, 36]
    narrow = replace(motion, width_px=48)
    assert list_blocks(cells, motion=narrow, is_future=False).centre_px[:, 0].max() == 40


def test_the_code_is_what_the_network_reads() -> None:
    field = np.array([[[0, 0], [20, -20], [50, -50], [10, -10]]], np.float32)
    x, y = draw_code(field, max_px=20)
    # v * 127.5 / 20 toward zero, + 128, clipped to 8 bits.
    assert x[0].tolist() == [128, 255, 255, 191]
    assert y[0].tolist() == [128, 1, 0, 65]
    assert field[0, 1, 0] == 20, "the field is left as it was"


def test_a_layer_over_a_picture_is_the_colours_laid_over_it() -> None:
    picture = np.full((2, 3, 3), 100, np.uint8)
    layer = np.zeros((2, 3, 4), np.uint8)
    layer[0, 0] = (255, 0, 0, 255)
    layer[0, 1] = (200, 200, 200, 128)
    shown = lay_over(picture, rgba=layer)
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert shown[0, 1].tolist() == [150, 150, 150]
    assert (shown[1] == 100).all()
