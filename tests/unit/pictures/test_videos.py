"""The pictures of a video: the right frame, the right way up, and the fields that belong to it."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moclip.errors import MoclipError, VideoError
from moclip.motion.fields import FieldSpec, build_fields, frames_with_motion
from moclip.motion.vectors import MotionVectors
from moclip.pictures import videos as motion_pictures
from moclip.pictures.vectors import colour_field, draw_vectors
from moclip.pictures.videos import DrawingSpec, VideoDrawing, draw_loop, draw_video, write_pictures, write_wheel
from moclip.video.motion_vectors import read_motion
from tests.unit.video.test_motion_vectors import encode, pan, render

SPEC = DrawingSpec(field=FieldSpec())


def draw(path: Path, *, spec: DrawingSpec = SPEC, source: Any = "original") -> VideoDrawing:
    return draw_video(path, video_id="v", motion=read_motion(path, video_id="v", source=source), spec=spec)


def tag_rotation_90(path: Path, output: Path) -> Path:
    """Copy an MP4 file, with a matrix in its track header that turns it clockwise by 90 degrees."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = (1 << 16).to_bytes(4, "big")
    minus = (2**32 - (1 << 16)).to_bytes(4, "big")
    data[matrix : matrix + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    output.write_bytes(data)
    return output


def warp_back(image: NDArray[np.uint8], field: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each pixel from where the field says that it came from."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    from_x = np.clip(np.round(x - field[..., 0]), 0, image.shape[1] - 1).astype(int)
    from_y = np.clip(np.round(y - field[..., 1]), 0, image.shape[0] - 1).astype(int)
    return image[from_y, from_x].astype(float)


def prediction_errors(path: Path, *, num_frames: int) -> dict[int | str, float]:
    """How far pictures are from what the vectors predict of them, were they `shift` frames away; and without vectors.

    Over P-frames with a picture on each side, each predicted from the I- or P-frame before it.
    """
    motion = read_motion(path, video_id="v")
    anchors = [k for k in range(motion.num_frames) if motion.picture_type[k] != ord("B")]
    before = dict(zip(anchors[1:], anchors, strict=False))
    inside = [k for k in frames_with_motion(motion).tolist() if k in before and before[k] > 0 and k + 1 < num_frames]
    errors: dict[int | str, list[float]] = {-1: [], 0: [], 1: [], "still": []}
    spec = replace(SPEC, frame_indices=tuple(range(num_frames)))
    images = [frame.pictures["frame"] for frame in draw_video(path, video_id="v", motion=motion, spec=spec).frames]
    for k, field in zip(inside, build_fields(motion, inside, spec=FieldSpec(kind="raw")), strict=True):
        for shift in (-1, 0, 1):
            predicted = warp_back(images[before[k] + shift], field)
            errors[shift].append(float(np.abs(predicted - images[k + shift]).mean()))
        errors["still"].append(float(np.abs(images[before[k]].astype(float) - images[k]).mean()))
    assert len(inside) >= 5
    return {name: float(np.mean(values)) for name, values in errors.items()}


def test_a_picture_is_the_frame_that_its_vectors_belong_to(tmp_path: Path) -> None:
    def sway(x: Any, y: Any, t: int) -> tuple[Any, Any]:
        return x + 200 - 18 * np.sin(0.9 * t), y + 200 + 11 * np.cos(1.3 * t)

    path = encode(tmp_path / "b.mp4", render(40, warp=sway), codec="h264", gop=40, max_b_frames=2)
    errors = prediction_errors(path, num_frames=40)
    assert errors[0] < 0.5 * min(errors[-1], errors[1], errors["still"])


@pytest.mark.shared
def test_a_picture_of_a_real_video_is_the_frame_that_its_vectors_belong_to(shared_dir: Path) -> None:
    errors = prediction_errors(shared_dir / "data/bench/h264_bframes_340x256.mp4", num_frames=48)
    assert errors[0] < 0.7 * min(errors[-1], errors[1], errors["still"])


def test_frames_are_spread_over_those_with_motion(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(24, warp=pan(4, 0)), codec="mpeg4", gop=12)
    drawing = draw(path, spec=replace(SPEC, num_frames=3))
    shown = [frame.frame_index for frame in drawing.frames]
    assert shown == [4, 11, 20]
    assert [frame.picture_type for frame in drawing.frames] == ["P"] * 3
    assert [frame.reference for frame in drawing.frames] == ["since frame 0", "since frame 0", "since frame 12"]
    assert [frame.time_seconds for frame in drawing.frames] == pytest.approx([k / 25 for k in shown])
    assert drawing.motion.num_frames == 24
    assert all(frame.longest_px >= 4 for frame in drawing.frames)


def test_more_frames_than_a_video_has_are_all_of_them_once(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(4, warp=pan(4, 0)))
    assert [frame.frame_index for frame in draw(path, spec=replace(SPEC, num_frames=50)).frames] == [1, 2, 3]


def test_the_fields_are_those_of_the_network(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(9, warp=pan(3, -2)))
    motion = read_motion(path, video_id="v")
    spec = replace(SPEC, field=FieldSpec(window=2, stride=4), frame_indices=(6,))
    (frame,) = draw_video(path, video_id="v", motion=motion, spec=spec).frames
    field = build_fields(motion, [6], spec=spec.field)[0]
    np.testing.assert_array_equal(frame.pictures["accumulated"], colour_field(field, max_px=20))
    assert frame.pictures["raw"].shape == frame.pictures["accumulated"].shape == (28, 40, 3)
    assert frame.pictures["code-x"].shape == frame.pictures["code-y"].shape == (28, 40)
    # Two steps of (3, -2): v * 127.5 / 20 toward zero, + 128.
    assert (np.median(frame.pictures["code-x"]), np.median(frame.pictures["code-y"])) == (166, 103)
    assert frame.reference == "over the last 2 frames"
    (raw,) = draw_video(path, video_id="v", motion=motion, spec=replace(spec, coded="raw")).frames
    assert (np.median(raw.pictures["code-x"]), np.median(raw.pictures["code-y"])) == (147, 116)


def test_a_rotated_video_is_drawn_upright_with_its_motion(tmp_path: Path) -> None:
    upright = render(6, width=112, height=160, warp=pan(4, 0))
    plain = encode(tmp_path / "plain.mp4", upright, codec="h264")
    coded = [np.rot90(image) for image in upright]
    tagged = tag_rotation_90(encode(tmp_path / "c.mp4", coded, codec="h264"), tmp_path / "tagged.mp4")
    spec = replace(SPEC, field=FieldSpec(upright=True), frame_indices=(4,))
    (expected,), (found,) = draw(plain, spec=spec).frames, draw(tagged, spec=spec).frames
    assert found.pictures["frame"].shape == (160, 112, 3)
    assert np.abs(found.pictures["frame"].astype(int) - expected.pictures["frame"]).mean() < 6
    assert found.pictures["vectors"].shape == expected.pictures["vectors"].shape
    inner = (slice(300, -300), slice(200, -200))
    assert (
        np.mean(np.abs(found.pictures["vectors"].astype(int) - expected.pictures["vectors"])[inner].max(axis=-1) < 40)
        > 0.97
    )
    for name in ("raw", "accumulated"):
        right = expected.pictures[name][80, 56]
        assert np.mean((found.pictures[name][40:-40, 32:-32] == right).all(axis=-1)) > 0.9
    # As coded, what goes right goes up.
    (as_coded,) = draw(tagged, spec=replace(spec, field=FieldSpec())).frames
    assert as_coded.pictures["frame"].shape == (112, 160, 3)
    np.testing.assert_array_equal(np.rot90(as_coded.pictures["vectors"], -1), found.pictures["vectors"])
    up = colour_field(np.array([[[0, -4]]], np.float32), max_px=20)[0, 0]
    assert np.mean((as_coded.pictures["raw"][32:-32, 40:-40] == up).all(axis=-1)) > 0.9


@pytest.mark.shared
def test_a_real_rotated_video_is_drawn_upright(shared_dir: Path) -> None:
    path = shared_dir / "data/robust/decord__video_90.mov"
    drawing = draw(path, spec=replace(SPEC, field=FieldSpec(upright=True), frame_indices=(1,)))
    assert drawing.motion.orientation.rotation_degrees == 90
    assert drawing.frames[0].pictures["frame"].shape == drawing.frames[0].pictures["raw"].shape == (568, 320, 3)
    assert drawing.frames[0].pictures["vectors"].shape == (1136, 640, 4)


def test_a_transcoded_video_is_drawn_at_the_size_of_its_vectors(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(8, warp=pan(4, 0)))
    drawing = draw(path, spec=replace(SPEC, frame_indices=(5,)), source="transcode")
    assert drawing.motion.source.startswith("transcode:")
    assert drawing.frames[0].pictures["frame"].shape == drawing.frames[0].pictures["raw"].shape == (256, 340, 3)
    # 4 px of 160 are 8.5 of 340.
    right = colour_field(np.array([[[8.5, 0]]], np.float32), max_px=20)[0, 0].astype(int)
    assert np.abs(np.median(drawing.frames[0].pictures["raw"][64:-64, 64:-64], axis=(0, 1)) - right).max() <= 4


def test_a_keyframe_is_striped_all_over(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(5, warp=pan(4, 0)))
    key, other = draw(path, spec=replace(SPEC, frame_indices=(0, 1))).frames
    assert (key.is_keyframe, key.picture_type, key.share_without_vector, key.longest_px) == (True, "I", 1.0, 0.0)
    assert other.share_without_vector < 0.2
    assert (key.pictures["raw"] == 255).all()
    assert (key.pictures["code-x"] == 128).all()


def test_a_frame_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(5, warp=pan(4, 0)))
    with pytest.raises(MoclipError, match=r"video v: expected frames of 0-4, found 5, 99"):
        draw(path, spec=replace(SPEC, frame_indices=(1, 5, 99)))


def test_vectors_of_another_file_are_not_drawn_over_its_frames(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(5, warp=pan(4, 0)))
    longer = encode(tmp_path / "w.mp4", render(7, warp=pan(4, 0)))
    larger = encode(tmp_path / "x.mp4", render(5, width=192, warp=pan(4, 0)))
    spec = replace(SPEC, frame_indices=(2,))
    for other, words in ((longer, "7 frames when its vectors were read, 5 when"), (larger, "vectors of 192x112 px")):
        with pytest.raises(VideoError, match=words):
            draw_video(path, video_id="v", motion=read_motion(other, video_id="v"), spec=spec)


def test_a_video_without_past_vectors_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "v.mp4", render(5, warp=pan(4, 0)))

    def no_frames(motion: MotionVectors) -> NDArray[np.int32]:
        return np.empty(0, np.int32)

    monkeypatch.setattr(motion_pictures, "frames_with_motion", no_frames)
    with pytest.raises(VideoError, match="no_motion_vectors"):
        draw(path)


def test_pictures_are_written_without_loss(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(5, warp=pan(4, 0)))
    motion = read_motion(path, video_id="v")
    drawing = draw_video(path, video_id="v", motion=motion, spec=replace(SPEC, frame_indices=(2,)))
    written = write_pictures(tmp_path / "png", drawing=drawing, name="v")
    assert sorted(file.name for file in written) == [
        f"v-frame-0002-{what}.png" for what in ("accumulated", "code-x", "code-y", "frame", "raw", "vectors")
    ]
    shown = {file.stem.removeprefix("v-frame-0002-"): np.asarray(Image.open(file)) for file in written}
    np.testing.assert_array_equal(shown["frame"], drawing.frames[0].pictures["frame"])
    np.testing.assert_array_equal(shown["raw"], drawing.frames[0].pictures["raw"])
    np.testing.assert_array_equal(shown["code-y"], drawing.frames[0].pictures["code-y"])
    # 6 times as large, and the arrows are in it.
    assert shown["vectors"].shape == (672, 960, 3)
    layer = draw_vectors(motion, frame_index=2, width_px=960, height_px=672)
    opaque = layer[..., 3] == 255
    np.testing.assert_array_equal(shown["vectors"][opaque], layer[..., :3][opaque])
    with Image.open(write_wheel(tmp_path / "png", max_px=20)) as wheel:
        assert (wheel.size, wheel.mode) == ((480, 480), "RGBA")
    before = {file: file.read_bytes() for file in written}
    write_pictures(tmp_path / "png", drawing=drawing, name="v")
    assert {file: file.read_bytes() for file in written} == before


@pytest.mark.parametrize("is_turned", [False, True])
def test_a_loop_is_successive_upright_frames_with_their_vectors(tmp_path: Path, is_turned: bool) -> None:
    path = encode(tmp_path / "v.mp4", render(25, warp=pan(4, 0)), codec="h264")
    path = tag_rotation_90(path, tmp_path / "turned.mp4") if is_turned else path
    motion = read_motion(path, video_id="v")
    size = {"num_frames": 8, "frames_a_second": 8, "width_px": 64}
    frames = draw_loop(path, video_id="v", motion=motion, **size)
    assert len(frames) == 8
    assert len({frame.shape for frame in frames}) == 1
    height, width = frames[0].shape[:2]
    assert width == 64
    assert (height > width) == is_turned
    assert all((one != other).any() for one, other in itertools.pairwise(frames))
    plain = np.stack([frame.astype(int) for frame in frames])
    # The yellow of past vectors: much red and green, little blue.
    assert ((plain[..., 0] > 200) & (plain[..., 1] > 150) & (plain[..., 2] < 120)).any()
