import gc
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moclip.errors import MoclipError, VideoError
from moclip.motion.fields import FieldSpec, build_fields, frames_with_motion
from moclip.motion.vectors import NO_VECTOR, MotionVectors
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
from moclip.video.writer import write_video

Images = list[NDArray[np.uint8]]
Warp = Callable[[NDArray[np.float64], NDArray[np.float64], int], tuple[NDArray[np.float64], NDArray[np.float64]]]
WITH_B_VECTORS = ("h264", "mpeg1video", "mpeg2video")


def make_texture(*, size: int = 512, seed: int = 5) -> NDArray[np.float64]:
    """Noise of several scales, so that a block finds its source and no other place."""
    rng = np.random.default_rng(seed)
    octaves = [np.kron(rng.random((size // cell, size // cell)), np.ones((cell, cell))) for cell in (4, 8, 32)]
    rough = sum(octaves) / len(octaves)
    return 255 * sum(np.roll(rough, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1)) / 6


TEXTURE = make_texture()


def render(num_frames: int, *, width: int = 160, height: int = 112, warp: Warp) -> Images:
    """Frames whose pixel (x, y), from the centre, shows the texture at `warp(x, y, t)`."""
    y, x = np.mgrid[:height, :width].astype(float)
    images = []
    for t in range(num_frames):
        at_x, at_y = warp(x - width / 2, y - height / 2, t)
        at_x, at_y = at_x % 511 + 0.0, at_y % 511 + 0.0
        left, top = np.floor(at_x).astype(int), np.floor(at_y).astype(int)
        right_share, lower_share = at_x - left, at_y - top
        upper = TEXTURE[top, left] * (1 - right_share) + TEXTURE[top, left + 1] * right_share
        lower = TEXTURE[top + 1, left] * (1 - right_share) + TEXTURE[top + 1, left + 1] * right_share
        grey = upper * (1 - lower_share) + lower * lower_share
        images.append(np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))
    return images


def pan(dx: float, dy: float) -> Warp:
    return lambda x, y, t: (x + 200 - dx * t, y + 200 - dy * t)


def encode(path: Path, images: Images, *, codec: Any = "mpeg4", gop: int = 12, max_b_frames: int = 0) -> Path:
    write_video(path, images, codec=codec, frame_rate=25, gop=gop, max_b_frames=max_b_frames)
    return path


def encode_as(path: Path, images: Images, *, encoder: str, pix_fmt: str = "yuv420p", **options: str) -> Path:
    """As `write_video`, by any encoder."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"g": "6", **options})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], pix_fmt
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def inner(field: NDArray[np.float32], *, border: int = 32) -> NDArray[np.float32]:
    return field[border:-border, border:-border]


def same(one: MotionVectors, other: MotionVectors) -> bool:
    return all(
        np.array_equal(value, getattr(other, name), equal_nan=np.asarray(value).dtype.kind == "f")
        for name, value in vars(one).items()
    )


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_a_pan_of_four_pixels_a_frame_gives_four_raw_and_four_t_accumulated(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / "pan.mp4", render(9, warp=pan(4, 0)), codec=codec)
    motion = read_motion(path, video_id="pan")
    raw = build_fields(motion, range(1, 9), spec=FieldSpec(kind="raw"))
    accumulated = build_fields(motion, range(1, 9), spec=FieldSpec())
    for t in range(1, 9):
        assert np.median(inner(raw[t - 1]), axis=(0, 1)).tolist() == [4, 0]
        assert np.median(inner(accumulated[t - 1], border=40), axis=(0, 1)).tolist() == [4 * t, 0]
        assert np.mean(inner(raw[t - 1])[..., 0] == 4) > 0.9


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dx=st.integers(-6, 6),
    dy=st.integers(-6, 6),
    codec=st.sampled_from([("libx264", "0"), ("libx264", "2"), ("mpeg4", "0"), ("mpeg2video", "0")]),
)
def test_any_pan_comes_out_as_it_went_in(tmp_path: Path, dx: int, dy: int, codec: tuple[str, str]) -> None:
    encoder, b_frames = codec
    # One reference frame: FFmpeg does not tell which of several a vector of H.264 points to.
    path = encode_as(
        tmp_path / "any.mkv", render(10, warp=pan(dx, dy)), encoder=encoder, bf=b_frames, refs="1", g="30", qmax="4"
    )
    motion = read_motion(path, video_id="any")
    candidates = frames_with_motion(motion)
    last = int(candidates[candidates >= 4][0])
    accumulated = build_fields(motion, [last], spec=FieldSpec(stride=8))[0]
    moved = np.median(accumulated[5:-5, 7:-7], axis=(0, 1))
    assert moved.tolist() == [last * dx, last * dy]


@settings(max_examples=16, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scale=st.floats(0.965, 1.035),
    turn_degrees=st.floats(-2.5, 2.5),
    codec=st.sampled_from(["h264", "mpeg4"]),
)
@example(scale=1.03, turn_degrees=0.0, codec="h264")
@example(scale=1.0, turn_degrees=2.0, codec="mpeg4")
def test_zoom_and_rotation_give_the_analytic_field(
    tmp_path: Path, scale: float, turn_degrees: float, codec: str
) -> None:
    def warp(x: Any, y: Any, t: int) -> tuple[Any, Any]:
        cos, sin = np.cos(np.radians(turn_degrees * t)), np.sin(np.radians(turn_degrees * t))
        return (cos * x + sin * y) / scale**t + 250, (cos * y - sin * x) / scale**t + 250

    images = render(4, width=192, height=160, warp=warp)
    motion = read_motion(encode(tmp_path / "v.mp4", images, codec=codec), video_id="v")
    raw = build_fields(motion, [3], spec=FieldSpec(kind="raw"))[0]
    y, x = np.mgrid[:160, :192].astype(float)
    x, y = x - 96, y - 80
    was_x, was_y = warp(x, y, 1)
    analytic = np.stack([x - (was_x - 250), y - (was_y - 250)], axis=-1)
    error = np.linalg.norm(inner(raw) - inner(analytic), axis=-1)
    # A vector comes in halves or quarters of a pixel, and stands for a block of 16 px, inside which the true field
    # changes by up to a pixel.
    assert np.median(error) < 0.5
    assert np.mean(error < 1.5) > 0.8


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dx=st.integers(-6, 6), dy=st.integers(-6, 6), codec=st.sampled_from(["h264", "mpeg4"]))
@example(dx=5, dy=2, codec="h264")
def test_mirroring_a_video_negates_its_horizontal_motion(tmp_path: Path, dx: int, dy: int, codec: str) -> None:
    images = render(8, warp=pan(dx, dy))
    motion = read_motion(encode(tmp_path / "a.mp4", images, codec=codec), video_id="a")
    mirrored = read_motion(encode(tmp_path / "b.mp4", [i[:, ::-1] for i in images], codec=codec), video_id="b")
    spec = FieldSpec(kind="raw")
    flipped = build_fields(motion, range(1, 8), spec=spec)[..., ::-1, :] * [-1, 1]
    found = build_fields(mirrored, range(1, 8), spec=spec)
    assert np.mean(np.abs(inner(found[6]) - inner(flipped[6])) <= 0.5) > 0.9


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dx=st.floats(-5, 5), dy=st.floats(-5, 5), scale=st.floats(0.98, 1.02), codec=st.sampled_from(["h264", "mpeg4"]))
def test_composing_the_raw_fields_of_a_gop_of_p_frames_gives_its_accumulated_field(
    tmp_path: Path, dx: float, dy: float, scale: float, codec: str
) -> None:
    images = render(9, warp=lambda x, y, t: (x / scale**t + 250 - dx * t, y / scale**t + 250 - dy * t))
    path = encode_as(tmp_path / "v.mkv", images, encoder={"h264": "libx264"}.get(codec, codec), bf="0", g="30")
    motion = read_motion(path, video_id="v")
    assert motion.picture_type.tobytes() == b"IPPPPPPPP"
    raw = build_fields(motion, range(1, 9), spec=FieldSpec(kind="raw"))
    y, x = np.mgrid[:112, :160]
    at_x, at_y = x.copy(), y.copy()
    for field in raw[::-1]:
        step = np.trunc(field[at_y, at_x]).astype(int)
        from_x, from_y = at_x - step[..., 0], at_y - step[..., 1]
        inside = (from_x >= 0) & (from_x < 160) & (from_y >= 0) & (from_y < 112)
        at_x, at_y = np.where(inside, from_x, at_x), np.where(inside, from_y, at_y)
    accumulated = build_fields(motion, [8], spec=FieldSpec())[0]
    np.testing.assert_array_equal(accumulated, np.stack([x - at_x, y - at_y], axis=-1))


def test_the_grid_holds_what_ffmpeg_exports_vector_by_vector(tmp_path: Path) -> None:
    images = render(13, width=110, height=90, warp=lambda x, y, t: (x * 1.01**t + 200 - 3 * t, y + 200 + 0.6 * t * t))
    for codec, b_frames in (("h264", 0), ("h264", 3), ("mpeg4", 0), ("mpeg4", 2)):
        path = encode(tmp_path / f"{codec}{b_frames}.mp4", images, codec=codec, max_b_frames=b_frames)
        check_against_plain_export(path, read_motion(path, video_id="v"))


@pytest.mark.parametrize(
    ("encoder", "suffix", "options"),
    [
        ("mpeg1video", ".mpg", {"bf": "2"}),
        ("mpeg2video", ".mpg", {"bf": "2"}),
        ("h263", ".avi", {}),
        ("flv", ".flv", {}),
        ("msmpeg4v2", ".avi", {}),
        ("wmv2", ".avi", {}),
        ("mpeg4", ".avi", {"bf": "2", "flags": "+qpel+mv4"}),
        ("libx264", ".mkv", {"bf": "2"}),
    ],
)
def test_the_shortcuts_of_the_decoder_change_no_vector(
    tmp_path: Path, encoder: str, suffix: str, options: dict[str, str]
) -> None:
    images = render(10, width=176, height=144, warp=lambda x, y, t: (x + 200 - 3 * t, y + 200 + 0.4 * t * t))
    path = encode_as(tmp_path / f"v{suffix}", images, encoder=encoder, **options)
    check_against_plain_export(path, read_motion(path, video_id="v"))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["h264_bframes_340x256.mp4", "mpeg4_part2_720p.mp4"])
def test_real_videos_give_what_ffmpeg_exports_vector_by_vector(shared_dir: Path, name: str) -> None:
    path = shared_dir / "data" / "bench" / name
    check_against_plain_export(path, read_motion(path, video_id=name), every=19)


def check_against_plain_export(path: Path, motion: MotionVectors, *, every: int = 1) -> None:
    """Compares with PyAV's own structs, from a decoder that takes no shortcut."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"flags2": "+export_mvs"}
        num_frames = 0
        for index, frame in enumerate(container.decode(stream)):
            num_frames += 1
            assert motion.picture_type[index] == ord("?IPBS"[frame.pict_type])
            assert motion.is_keyframe[index] == frame.key_frame
            assert motion.time_seconds[index] == pytest.approx(frame.time)
            assert (motion.width_px, motion.height_px) == (frame.width, frame.height)
            vectors = frame.side_data.get("MOTION_VECTORS")
            if frame.pict_type == PictureType.B and stream.codec_context.name not in WITH_B_VECTORS:
                vectors = None
            table = None if vectors is None else vectors.to_ndarray()
            for source, fields, indices in (
                (-1, motion.past, motion.past_frame_index),
                (1, motion.future, motion.future_frame_index),
            ):
                row = np.flatnonzero(indices == index)
                assert len(row) == (table is not None and bool((table["source"] == source).any()))
                if len(row) and index % every == 0:
                    plain = np.full(fields.shape[1:], NO_VECTOR)
                    for w, h, x, y, dx, dy in table[table["source"] == source][
                        ["w", "h", "dst_x", "dst_y", "motion_x", "motion_y"]
                    ].tolist():
                        plain[(y - h // 2) // 8 : (y + h // 2) // 8, (x - w // 2) // 8 : (x + w // 2) // 8] = (dx, dy)
                    np.testing.assert_array_equal(fields[row[0]], plain)
                    assert (table["motion_scale"] == motion.motion_scale).all()
            del frame, vectors, table
        assert motion.num_frames == num_frames


def test_b_frames_have_vectors_of_both_directions_and_p_frames_of_one(tmp_path: Path) -> None:
    path = encode(tmp_path / "b.mp4", render(13, warp=pan(4, 0)), codec="h264", max_b_frames=2)
    motion = read_motion(path, video_id="b")
    types = motion.picture_type.tobytes().decode()
    assert {types[index] for index in motion.future_frame_index} == {"B"}
    assert {types[index] for index in motion.past_frame_index} == {"P", "B"}
    last_b = int(motion.future_frame_index[-1])
    future = motion.future[-1]
    assert np.median(future[..., 0][future[..., 0] != NO_VECTOR]) == 4 * motion.motion_scale
    raw = build_fields(motion, [last_b], spec=FieldSpec(kind="raw"))[0]
    assert np.median(raw[..., 0][raw[..., 0] != 0]) == 4


def test_b_frames_of_mpeg_4_have_no_vectors_since_ffmpeg_never_writes_them(tmp_path: Path) -> None:
    path = encode(tmp_path / "b.mp4", render(13, warp=pan(4, 0)), codec="mpeg4", max_b_frames=2)
    motion = read_motion(path, video_id="b")
    types = motion.picture_type.tobytes().decode()
    assert "B" in types
    assert {types[index] for index in motion.past_frame_index} == {"P"}
    assert len(motion.future) == 0
    # Their accumulated motion is that of the frame they were predicted from.
    fields = build_fields(motion, range(7), spec=FieldSpec(stride=8))
    assert np.median(fields[:, 5:-5, 7:-5], axis=(1, 2))[:, 0].tolist() == [0, 0, 0, 12, 12, 12, 24]


def test_extracting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(20, warp=pan(3, 1)), codec="h264", max_b_frames=3)
    assert same(read_motion(path, video_id="v"), read_motion(path, video_id="v"))
    transcoded = [read_motion(path, video_id="v", source="transcode") for _ in range(2)]
    assert same(*transcoded)


def test_keyframes_types_times_and_rates_are_those_of_the_stream(tmp_path: Path) -> None:
    motion = read_motion(encode(tmp_path / "v.mp4", render(10, warp=pan(3, 1)), gop=4), video_id="v")
    assert motion.picture_type.tobytes() == b"IPPPIPPPIP"
    assert np.flatnonzero(motion.is_keyframe).tolist() == [0, 4, 8]
    np.testing.assert_allclose(motion.time_seconds, np.arange(10) / 25)
    assert (motion.frame_rate, motion.codec_name, motion.source) == (25.0, "mpeg4", "original")
    assert motion.motion_scale == 2


@pytest.mark.parametrize(("width", "height"), [(101, 67), (33, 17), (16, 16), (15, 15), (340, 256)])
def test_sizes_that_are_no_multiple_of_a_block_keep_their_whole_grid(tmp_path: Path, width: int, height: int) -> None:
    images = render(4, width=width, height=height, warp=pan(2, 0))
    motion = read_motion(encode(tmp_path / "v.avi", images), video_id="v")
    assert (motion.width_px, motion.height_px) == (width, height)
    assert motion.past.shape[1:] == (2 * -(-height // 16), 2 * -(-width // 16), 2)
    assert build_fields(motion, [3], spec=FieldSpec()).shape == (1, height, width, 2)


def test_no_frame_outlives_the_reading_of_its_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(40, warp=pan(3, 0)), codec="h264")
    gc.collect()
    gc.disable()
    try:
        read_motion(path, video_id="v")
        read_frames(path, video_id="v", choose=lambda number: [number // 2])
        alive = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 2


@pytest.mark.parametrize(
    ("encoder", "suffix", "pix_fmt"), [("mjpeg", ".avi", "yuvj420p"), ("libx265", ".mkv", "yuv420p10le")]
)
def test_a_codec_without_vectors_is_rejected_or_transcoded_as_asked(
    tmp_path: Path, encoder: str, suffix: str, pix_fmt: str
) -> None:
    options = {"x265-params": "log-level=none:pools=1"} if encoder == "libx265" else {}
    path = encode_as(tmp_path / f"v{suffix}", render(14, warp=pan(4, 0)), encoder=encoder, pix_fmt=pix_fmt, **options)
    with pytest.raises(VideoError, match="no_motion_vectors"):
        read_motion(path, video_id="v")
    motion = read_motion(path, video_id="v", source="auto")
    assert motion.source.startswith("transcode:mpeg4,340x256,gop=12")
    assert motion.codec_name == {"mjpeg": "mjpeg", "libx265": "hevc"}[encoder]
    assert motion.picture_type.tobytes() == b"I" + b"P" * 11 + b"IP"
    assert (motion.width_px, motion.height_px, motion.motion_scale) == (340, 256, 2)
    np.testing.assert_allclose(motion.time_seconds, np.arange(14) / 25, atol=1e-3)
    raw = build_fields(motion, [5], spec=FieldSpec(kind="raw"))[0]
    np.testing.assert_allclose(np.median(inner(raw), axis=(0, 1)), [4 * 340 / 160, 0], atol=0.5)
    assert list(tmp_path.iterdir()) == [path]


def test_auto_takes_the_original_vectors_where_there_are_any(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(6, warp=pan(2, 0)))
    assert same(read_motion(path, video_id="v", source="auto"), read_motion(path, video_id="v"))
    intra = encode(tmp_path / "i.mp4", render(6, warp=pan(2, 0)), gop=1)
    assert read_motion(intra, video_id="i", source="auto").source.startswith("transcode:")


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoclipError, match="expected original, transcode or auto, found 'both'"):
        read_motion(tmp_path / "v.mp4", video_id="v", source="both")  # type: ignore[arg-type]


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """A file that says: turn me 90 degrees clockwise."""
    path = tmp_path / "r.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 160, 112
        stream.set_display_rotation(-90)
        for index, image in enumerate(render(6, warp=pan(4, 0))):
            image[:20, :20] = 255  # white, and so is the upper right corner of the upright picture
            image[-20:, :20] = 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_rotation_is_recorded_and_turns_frames_and_fields_alike(rotated: Path) -> None:
    motion = read_motion(rotated, video_id="r")
    assert (motion.rotation_degrees, motion.width_px, motion.height_px) == (90, 160, 112)
    image = read_frames(rotated, video_id="r", choose=lambda number: [2]).images[0]
    assert image.shape == (160, 112, 3)
    assert image[5, -5].min() > 200
    assert image[5, 5].max() < 50
    field = build_fields(motion, [3], spec=FieldSpec(kind="raw", upright=True))[0]
    assert np.median(inner(field), axis=(0, 1)).tolist() == [0, 4]


def test_a_transcoded_video_is_upright(rotated: Path) -> None:
    motion = read_motion(rotated, video_id="r", source="transcode")
    assert (motion.rotation_degrees, motion.width_px, motion.height_px) == (0, 340, 256)
    field = build_fields(motion, [3], spec=FieldSpec(kind="raw"))[0]
    np.testing.assert_allclose(np.median(inner(field), axis=(0, 1)), [0, 4 * 256 / 160], atol=0.5)


@pytest.mark.parametrize(("encoder", "suffix"), [("libx264", ".h264"), ("mpeg2video", ".m2v")])
def test_a_change_of_size_inside_a_file_is_a_named_reject(tmp_path: Path, encoder: str, suffix: str) -> None:
    small, large = render(4, warp=pan(2, 0)), render(4, width=192, height=128, warp=pan(2, 0))
    parts = [encode_as(tmp_path / f"{len(i[0])}{suffix}", i, encoder=encoder).read_bytes() for i in (small, large)]
    path = tmp_path / f"v{suffix}"
    path.write_bytes(b"".join(parts))
    for read in (
        lambda: read_motion(path, video_id="v"),
        lambda: read_motion(path, video_id="v", source="transcode"),
        lambda: read_frames(path, video_id="v", choose=lambda number: [0]),
    ):
        with pytest.raises(VideoError, match=r"v: resolution_change .* from 160x112 to 192x128 px"):
            read()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.mp4", None, "missing"),
        ("empty.mp4", b"", "unreadable"),
        ("noise.avi", bytes(range(256)) * 64, "unreadable"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "unreadable"),
    ],
)
def test_a_file_that_is_no_video_is_a_named_reject(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for source in ("original", "auto"):
        with pytest.raises(VideoError) as caught:
            read_motion(tmp_path / name, video_id="x", source=source)  # type: ignore[arg-type]
        assert caught.value.reason == reason


def test_a_sound_file_holds_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="no_video_stream"):
        read_motion(path, video_id="sound")


def plain_frames(path: Path) -> tuple[Images, list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in frames], [f.time for f in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_chosen_frames_are_those_of_a_decode_from_start_to_end(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"v{suffix}", render(23, warp=pan(5, 3)), codec="h264", gop=250, max_b_frames=3)
    asked = []

    def choose(number: int) -> Sequence[int]:
        asked.append(number)
        return [number - 1, 0, number // 2, 0]

    frames = read_frames(path, video_id="v", choose=choose)
    assert asked[-1] == frames.num_frames == 23
    assert frames.frame_index.tolist() == [22, 0, 11, 0]
    every, times = plain_frames(path)
    np.testing.assert_allclose(frames.time_seconds, [times[index] for index in (22, 0, 11, 0)])
    for image, index in zip(frames.images, (22, 0, 11, 0), strict=True):
        # Colours are converted exactly here, and roughly there.
        assert np.abs(image.astype(int) - every[index]).max() <= 3


def test_a_frame_that_is_not_there_is_a_named_reject(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", render(3, warp=pan(1, 0)))
    with pytest.raises(VideoError, match="too_short"):
        read_frames(path, video_id="v", choose=lambda number: [3])


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_writing_twice_gives_the_same_bytes_and_keyframes_where_they_were_asked_for(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    cut = [*render(7, warp=pan(4, 0)), *[255 - image for image in render(6, warp=pan(0, 90))]]
    paths = [encode(tmp_path / f"{name}{suffix}", cut, codec=codec, gop=5, max_b_frames=2) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    motion = read_motion(paths[0], video_id="v")
    assert np.flatnonzero(motion.is_keyframe).tolist() == [0, 5, 10]
    assert motion.num_frames == 13


def test_what_cannot_be_encoded_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MoclipError, match="at least one frame"):
        encode(tmp_path / "v.mp4", [])
    with pytest.raises(MoclipError, match=r"even sizes for H\.264, found 33x16"):
        encode(tmp_path / "v.mp4", [np.zeros((16, 33, 3), np.uint8)], codec="h264")
