from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moclip.errors import MoclipError
from moclip.motion.fields import FieldSpec, build_fields, frames_with_motion, pixel_code, turn_fields
from moclip.motion.vectors import NO_VECTOR, MotionVectors


def make_motion(vectors: dict[int, NDArray[np.int16]], *, types: str, **changes: Any) -> MotionVectors:
    """Vectors (Hb, Wb, 2) of some frames, in quarter pixels, over a 64 x 48 picture unless told otherwise."""
    values: dict[str, Any] = {
        "past": np.array(list(vectors.values()), np.int16).reshape(len(vectors), *_grid(changes), 2),
        "past_frame_index": np.array(list(vectors), np.int32),
        "future": np.empty((0, *_grid(changes), 2), np.int16),
        "future_frame_index": np.empty(0, np.int32),
        "picture_type": np.frombuffer(types.encode(), np.uint8),
        "is_keyframe": np.array([kind == "I" for kind in types]),
        "time_seconds": np.arange(len(types)) / 25,
        "motion_scale": 4,
        "width_px": 64,
        "height_px": 48,
        "rotation_degrees": 0,
        "codec_name": "h264",
        "frame_rate": 25.0,
        "source": "original",
    }
    return MotionVectors(**values | changes)


def _grid(changes: dict[str, Any]) -> tuple[int, int]:
    return 2 * -(-changes.get("height_px", 48) // 16), 2 * -(-changes.get("width_px", 64) // 16)


def pan(dx: int, dy: int, *, shape: tuple[int, int] = (6, 8)) -> NDArray[np.int16]:
    """The vectors of content that moves by so many quarter pixels."""
    return np.broadcast_to(np.array([-dx, -dy], np.int16), (*shape, 2)).copy()


def plain_accumulated(motion: MotionVectors, frame: int, *, window: int | None = None) -> NDArray[np.float32]:
    """CoViAR's table of origins, pixel by pixel, from the definition and nothing else."""
    height, width = motion.height_px, motion.width_px
    row_of = {index: row for row, index in enumerate(motion.past_frame_index.tolist())}
    types = motion.picture_type.tobytes().decode()
    identity = {(y, x): (y, x) for y in range(height) for x in range(width)}
    table, chain, at = dict(identity), [], frame
    while at >= 0 and (at > frame - window if window else types[at] != "I"):
        chain.append(at)
        at = max((earlier for earlier in range(at) if types[earlier] != "B"), default=-1)
    for index in reversed(chain):
        if index not in row_of:
            continue
        old = dict(table)
        for y, x in identity:
            vector = motion.past[row_of[index], y // 8, x // 8].tolist()
            step_x, step_y = (0, 0) if vector == [NO_VECTOR] * 2 else (int(v / motion.motion_scale) for v in vector)
            if (step_x or step_y) and 0 <= y + step_y < height and 0 <= x + step_x < width:
                table[y, x] = old[y + step_y, x + step_x]
    return np.array([[[x - table[y, x][1], y - table[y, x][0]] for x in range(width)] for y in range(height)])


@st.composite
def motions(draw: st.DrawFn) -> MotionVectors:
    width, height = draw(st.integers(1, 50)), draw(st.integers(1, 40))
    types = "I" + "".join(draw(st.lists(st.sampled_from("PPPBI"), min_size=1, max_size=6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = _grid({"width_px": width, "height_px": height})
    reach = draw(st.sampled_from([3, 12, 60, 400]))
    vectors = {}
    for frame, kind in enumerate(types):
        if kind != "I" and draw(st.integers(0, 9)):
            field = rng.integers(-reach, reach + 1, (*shape, 2)).astype(np.int16)
            field[rng.random(shape) < 0.3] = 0
            field[rng.random(shape) < 0.2] = NO_VECTOR
            # Neighbours that move alike, as in blocks of 16 pixels.
            field[:, 1::2][rng.random((shape[0], shape[1] // 2)) < 0.5] = field[0, 0]
            vectors[frame] = field
    return make_motion(
        vectors, types=types, width_px=width, height_px=height, motion_scale=draw(st.sampled_from([1, 2, 4]))
    )


@settings(max_examples=60, deadline=None)
@given(motion=motions(), window=st.sampled_from([None, None, 1, 2, 3]))
def test_accumulated_motion_equals_the_plain_definition_at_every_pixel_and_stride(
    motion: MotionVectors, window: int | None
) -> None:
    frames = list(range(motion.num_frames))
    plain = np.array([plain_accumulated(motion, frame, window=window) for frame in frames])
    for stride in (1, 2, 4, 8):
        fields = build_fields(motion, frames, spec=FieldSpec(stride=stride, window=window))
        assert fields.dtype == np.float32
        np.testing.assert_array_equal(fields, plain[:, stride // 2 :: stride, stride // 2 :: stride])


@settings(max_examples=25, deadline=None)
@given(motion=motions(), stride=st.sampled_from([1, 2, 4, 8]), seed=st.integers(0, 1000))
def test_the_order_and_number_of_the_frames_asked_for_change_no_field(
    motion: MotionVectors, stride: int, seed: int
) -> None:
    spec = FieldSpec(stride=stride)
    frames = np.random.default_rng(seed).integers(0, motion.num_frames, 7)
    alone = [build_fields(motion, [frame], spec=spec)[0] for frame in frames]
    np.testing.assert_array_equal(build_fields(motion, frames, spec=spec), np.array(alone))


def test_a_pan_accumulates_frame_by_frame_where_its_source_is_in_the_picture() -> None:
    motion = make_motion({t: pan(16, -8) for t in range(1, 6)}, types="IPPPPP")
    raw = build_fields(motion, [1, 5], spec=FieldSpec(kind="raw"))
    assert (raw == np.array([4, -2])).all()
    for t in range(1, 6):
        field = build_fields(motion, [t], spec=FieldSpec())[0]
        assert (field[: 48 - 2 * t, 4 * t :] == np.array([4 * t, -2 * t])).all()


def test_composing_raw_steps_over_a_gop_gives_the_accumulated_field() -> None:
    rng = np.random.default_rng(3)
    vectors = {t: 4 * rng.integers(-6, 7, (6, 8, 2)).astype(np.int16) for t in range(1, 5)}
    motion = make_motion(vectors, types="IPPPP")
    raw = build_fields(motion, [1, 2, 3, 4], spec=FieldSpec(kind="raw")).astype(int)
    y, x = np.mgrid[:48, :64]
    at_y, at_x = y.copy(), x.copy()
    for field in raw[::-1]:
        from_y, from_x = at_y - field[at_y, at_x, 1], at_x - field[at_y, at_x, 0]
        inside = (from_y >= 0) & (from_y < 48) & (from_x >= 0) & (from_x < 64)
        at_y, at_x = np.where(inside, from_y, at_y), np.where(inside, from_x, at_x)
    field = build_fields(motion, [4], spec=FieldSpec())[0]
    np.testing.assert_array_equal(field, np.stack([x - at_x, y - at_y], axis=-1))


def test_accumulated_motion_resets_at_each_keyframe() -> None:
    motion = make_motion({t: pan(16, 0) for t in (1, 2, 4, 5)}, types="IPPIPP")
    fields = build_fields(motion, range(6), spec=FieldSpec(stride=8))
    assert fields[:, 3, -1, 0].tolist() == [0, 4, 8, 0, 4, 8]


def test_a_window_looks_back_so_many_frames_whatever_the_keyframes() -> None:
    motion = make_motion({t: pan(16, 0) for t in (1, 2, 4, 5)}, types="IPPIPP")
    fields = build_fields(motion, range(6), spec=FieldSpec(stride=8, window=2))
    assert fields[:, 3, -1, 0].tolist() == [0, 4, 8, 4, 4, 8]


def test_a_b_frame_adds_its_own_step_to_the_frame_it_was_predicted_from_and_to_no_other() -> None:
    vectors = {1: pan(4, 0), 2: pan(8, 0), 3: pan(12, 0), 4: pan(4, 0)}
    motion = make_motion(vectors, types="IBBPB")
    fields = build_fields(motion, range(5), spec=FieldSpec(stride=8))
    assert fields[:, 3, -1, 0].tolist() == [0, 1, 2, 3, 4]


def test_raw_motion_keeps_the_fractions_of_a_pixel_and_is_zero_where_there_is_no_vector() -> None:
    field = pan(3, -1)
    field[2, 5] = NO_VECTOR
    raw = build_fields(make_motion({1: field}, types="IP"), [0, 1], spec=FieldSpec(kind="raw"))
    assert (raw[0] == 0).all()
    assert (raw[1, 16:24, 40:48] == 0).all()
    assert raw[1, 15, 40].tolist() == [0.75, -0.25]


def test_frames_with_motion_are_p_frames_with_vectors_and_b_frames_only_where_there_are_no_others() -> None:
    vectors = {t: pan(4, 0) for t in (1, 2, 4)}
    assert frames_with_motion(make_motion(vectors, types="IPBIPP")).tolist() == [1, 4]
    assert frames_with_motion(make_motion(vectors, types="IBBIBI")).tolist() == [1, 2, 4]
    assert frames_with_motion(make_motion(vectors, types="IPIIII")).tolist() == [1]


def test_turning_clockwise_turns_places_and_directions() -> None:
    field = np.zeros((1, 2, 3, 2), np.float32)
    field[0, 0, 2] = (1, 0)  # the upper right corner moves to the right
    turned = turn_fields(field, rotation_degrees=90)
    assert turned.shape == (1, 3, 2, 2)
    assert turned[0, 2, 1].tolist() == [0, 1]  # the lower right corner moves down
    np.testing.assert_array_equal(turn_fields(turned, rotation_degrees=270), field)
    np.testing.assert_array_equal(turn_fields(field, rotation_degrees=180), turn_fields(turned, rotation_degrees=90))


def test_an_upright_field_follows_the_rotation_of_the_video() -> None:
    motion = make_motion({1: pan(8, 0)}, types="IP", rotation_degrees=90)
    field = build_fields(motion, [1], spec=FieldSpec(kind="raw", upright=True))
    assert field.shape == (1, 64, 48, 2)
    assert (field == np.array([0, 2])).all()


def test_the_pixel_code_is_that_of_coviar_for_both_signs() -> None:
    # Written down from CoViAR's loader, which casts the product to an integer before it adds 128.
    speeds = [-100, -20.1, -20, -10, -3, -1, -0.5, -0.1, 0, 0.1, 0.5, 1, 3, 10, 19.93, 20, 100]
    codes = [0, 0, 1, 65, 109, 122, 125, 128, 128, 128, 131, 134, 147, 191, 255, 255, 255]
    assert pixel_code(np.array(speeds, np.float32)).tolist() == codes
    every = np.linspace(-25, 25, 4001).astype(np.float32)
    plain = [min(max(int(float(v * np.float32(127.5 / 20))) + 128, 0), 255) for v in every]
    assert pixel_code(every).tolist() == plain
    assert pixel_code(np.float32([-3]), max_px=10.0).tolist() == [90]


@settings(max_examples=20, deadline=None)
@given(
    pan_px=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    zoom=st.floats(-0.02, 0.02),
    kind=st.sampled_from(["raw", "accumulated"]),
)
def test_camera_compensation_leaves_the_background_still_and_the_object_moving(
    pan_px: tuple[int, int], zoom: float, kind: Any
) -> None:
    shape = (30, 40)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float) * 8 + 4
    visible = np.stack([pan_px[0] + zoom * (x - 160), pan_px[1] + zoom * (y - 120)], axis=-1)
    visible[8:20, 10:20] += (7, -5)
    vectors = np.round(visible * -4).astype(np.int16)
    motion = make_motion({1: vectors}, types="IP", width_px=320, height_px=240)
    field = build_fields(motion, [1], spec=FieldSpec(kind=kind, stride=8, compensate_camera=True))[0]
    inside = (slice(3, -3), slice(3, -3))
    assert np.median(np.abs(field[inside])) < 0.6
    # Accumulated steps are whole pixels, cut towards zero: up to one pixel from the truth, and so may the fit be.
    assert np.linalg.norm(np.median(field[10:18, 12:18], axis=(0, 1)) - (7, -5)) < (0.3 if kind == "raw" else 2)


def test_camera_compensation_leaves_cells_without_vectors_at_zero() -> None:
    field = pan(16, 8, shape=(16, 16))
    field[3:5, 3:5] = NO_VECTOR
    motion = make_motion({1: field}, types="IP", width_px=128, height_px=128)
    raw = build_fields(motion, [0, 1], spec=FieldSpec(kind="raw", compensate_camera=True))
    np.testing.assert_allclose(raw, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("frames", "spec", "message"),
    [
        ([2], FieldSpec(), "expected frames of 0-1, found 2-2"),
        ([-1], FieldSpec(), "expected frames of 0-1"),
        ([0], FieldSpec(stride=3), "stride of 1, 2, 4 or 8"),
        ([0], FieldSpec(window=0), "window of at least 1 frame"),
        ([0], FieldSpec(kind="sum"), "kind raw or accumulated"),  # type: ignore[arg-type]
    ],
)
def test_an_impossible_request_is_refused_by_name(frames: list[int], spec: FieldSpec, message: str) -> None:
    with pytest.raises(MoclipError, match=message):
        build_fields(make_motion({1: pan(4, 0)}, types="IP"), frames, spec=spec)


def test_no_frames_give_no_fields() -> None:
    motion = make_motion({1: pan(4, 0)}, types="IP")
    for kind in ("raw", "accumulated"):
        for stride in (1, 8):
            fields = build_fields(motion, [], spec=FieldSpec(kind=kind, stride=stride, compensate_camera=True))  # type: ignore[arg-type]
            assert fields.shape == (0, 48 // stride, 64 // stride, 2)
