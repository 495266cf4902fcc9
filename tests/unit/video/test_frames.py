"""Frames that are sought out are those of a decode from the first to the last, on every container at hand."""

import gc
import weakref
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moclip.errors import VideoError
from moclip.video import frames
from moclip.video.container import open_video
from moclip.video.frames import Frames, read_frame_facts, read_frames
from moclip.video.motion_vectors import read_motion
from moclip.video.packets import read_packet_index
from tests.unit.video.test_motion_vectors import encode_as, pan, render

IMAGES = render(40, width=64, height=48, warp=pan(3, 1))
# Every container and codec that PyAV's wheels write here, closed and open groups, with and without B-frames.
MADE: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264-b": ("mp4", "libx264", {"bf": "3"}),
    "h264-no-b": ("mov", "libx264", {"bf": "0"}),
    "h264-open-gop": ("mp4", "libx264", {"bf": "2", "x264-params": "open-gop=1:scenecut=0"}),
    "h264-open-gop-mkv": ("mkv", "libx264", {"bf": "2", "x264-params": "open-gop=1:scenecut=0"}),
    "h264-intra-refresh": ("mkv", "libx264", {"bf": "0", "x264-params": "intra-refresh=1:keyint=8"}),
    "h264-avi": ("avi", "libx264", {"bf": "2"}),
    "h264-flv": ("flv", "libx264", {"bf": "2"}),
    "h264-ts": ("ts", "libx264", {"bf": "2"}),
    "h264-one-gop": ("mp4", "libx264", {"g": "1000", "bf": "2"}),
    "mpeg4-b": ("mp4", "mpeg4", {"bf": "2"}),
    "mpeg4-avi": ("avi", "mpeg4", {}),
    "mpeg4-b-avi": ("avi", "mpeg4", {"bf": "2"}),
    "mpeg4-mkv": ("mkv", "mpeg4", {"bf": "1"}),
    "mpeg2-open-gop": ("mkv", "mpeg2video", {"bf": "2"}),
    "mpeg2-ps": ("mpg", "mpeg2video", {"bf": "2"}),
    "hevc": ("mp4", "libx265", {"x265-params": "log-level=none:open-gop=1:keyint=6"}),
    "vp9": ("webm", "libvpx-vp9", {"cpu-used": "8", "lag-in-frames": "12", "auto-alt-ref": "1"}),
    "vp8": ("webm", "libvpx", {"cpu-used": "8", "lag-in-frames": "12", "auto-alt-ref": "1"}),
    "mjpeg": ("avi", "mjpeg", {}),
    "flv1": ("flv", "flv", {}),
}
# Counted from the first: containers that may cut a picture into packets, and one whose timestamps prove to be wrong.
COUNTED = {"h264-ts", "mpeg2-ps", "h264-avi"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    paths = {}
    for name, (suffix, encoder, options) in MADE.items():
        pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        paths[name] = encode_as(folder / f"{name}.{suffix}", IMAGES, encoder=encoder, pix_fmt=pix_fmt, **options)
    return paths


def outcome(path: Path, *, chosen: list[int], **options: Any) -> Frames | VideoError:
    try:
        return read_frames(path, video_id="v", choose=lambda n: [i % n for i in chosen], **options)
    except VideoError as error:
        return error


def check_same(found: Frames | VideoError, expected: Frames | VideoError) -> None:
    if isinstance(expected, VideoError) or isinstance(found, VideoError):
        assert str(found) == str(expected)
        return
    assert found.num_frames == expected.num_frames
    assert found.frame_index.tolist() == expected.frame_index.tolist()
    np.testing.assert_array_equal(found.time_seconds, expected.time_seconds)
    for one, other in zip(found.images, expected.images, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(0, 39), min_size=1, max_size=5))
def test_sought_frames_are_those_of_a_whole_decode(made: dict[str, Path], name: str, chosen: list[int]) -> None:
    check_same(outcome(made[name], chosen=chosen), outcome(made[name], chosen=chosen, seek=False))


@pytest.mark.parametrize("name", MADE)
def test_every_single_frame_is_found(made: dict[str, Path], name: str) -> None:
    whole = read_frames(made[name], video_id="v", choose=range, seek=False)
    for index in range(0, whole.num_frames, 3):
        alone = read_frames(made[name], video_id="v", choose=lambda _, index=index: [index])  # type: ignore[misc]
        np.testing.assert_array_equal(alone.images[0], whole.images[index])


@pytest.mark.parametrize("name", MADE)
def test_seeking_is_what_happens_where_packets_can_be_trusted(
    made: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Path] = []
    original = frames._read_from_first

    def spy(path: Path, **options: Any) -> Frames:
        counted.append(path)
        return original(path, **options)

    monkeypatch.setattr(frames, "_read_from_first", spy)
    read_frames(made[name], video_id="v", choose=lambda number: [number // 2, number - 1])
    assert bool(counted) == (name in COUNTED)


def test_only_what_is_needed_is_decoded(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = frames._decode_packets

    def spy(*arguments: Any) -> Any:
        for frame in original(*arguments):
            decoded.append(int(frame.pts))
            yield frame

    monkeypatch.setattr(frames, "_decode_packets", spy)
    read_frames(made["h264-b"], video_id="v", choose=lambda _: [20])
    assert len(decoded) == 3, "keyframe 18, then 19 and 20, of 40"
    decoded.clear()
    read_frames(made["h264-b"], video_id="v", choose=lambda _: [3, 4, 38])
    assert len(decoded) == 5 + 3, "0 to 4, then 36 to 38"


def test_an_intra_refresh_is_no_place_to_begin(made: dict[str, Path]) -> None:
    # Its packets are marked as keyframes, and the pictures there still look back.
    with open_video(made["h264-intra-refresh"], video_id="v") as video:
        index = read_packet_index(video)
    assert index is not None
    assert index.entries.tolist() == [0]


def test_a_packet_that_is_another_one_than_listed_is_noticed(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on real AVI files: the seek ends elsewhere than it says.
    whole = read_frames(made["mpeg4-avi"], video_id="v", choose=lambda _: [20], seek=False)
    original = frames._land

    def astray(video: Any, index: Any, entry: int) -> Any:
        landed, packets = original(video, index, entry)
        next(packets)
        return landed, packets

    monkeypatch.setattr(frames, "_land", astray)
    check_same(read_frames(made["mpeg4-avi"], video_id="v", choose=lambda _: [20]), whole)


def test_a_known_number_of_frames_ends_a_decode_from_the_first_early(made: dict[str, Path]) -> None:
    path = made["mpeg2-ps"]
    whole = read_frames(path, video_id="v", choose=lambda _: [7], seek=False)
    asked: list[int] = []

    def choose(number: int) -> list[int]:
        asked.append(number)
        return [7]

    check_same(read_frames(path, video_id="v", choose=choose, num_frames=whole.num_frames), whole)
    assert set(asked) == {40}
    # A number that does not hold is found out where it matters, and never ends in another frame.
    with pytest.raises(VideoError, match="too_short"):
        read_frames(path, video_id="v", choose=lambda _: [60], num_frames=70)


def cut_inside_group(source: Path, cut: Path, *, first: int) -> Path:
    """Copy the packets of a video from one inside a group of pictures on."""
    with av.open(str(source)) as read, av.open(str(cut), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in list(read.demux(video=0))[first:]:
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    return cut


@pytest.mark.parametrize("first", [3, 8])
@pytest.mark.parametrize(
    "name", ["h264-b", "h264-open-gop-mkv", "h264-flv", "mpeg4-mkv", "mpeg4-avi", "mpeg2-open-gop"]
)
def test_frames_before_the_first_whole_one_do_not_exist(
    made: dict[str, Path], tmp_path: Path, name: str, first: int
) -> None:
    path = cut_inside_group(made[name], tmp_path / f"cut{made[name].suffix}", first=first)
    middle = [
        read_frames(path, video_id="v", choose=lambda number: [number // 2, number - 1], seek=seek)
        for seek in (True, False)
    ]
    check_same(middle[0], middle[1])
    num_frames = middle[0].num_frames
    assert len(read_frame_facts(path, video_id="v").is_keyframe) == num_frames
    if name.startswith("h264"):  # FFmpeg decodes the others onto a gray picture
        assert num_frames < 40 - first
    assert read_motion(path, video_id="v", source="auto").num_frames == num_frames
    for index in (0, num_frames - 1):
        check_same(outcome(path, chosen=[index]), outcome(path, chosen=[index], seek=False))


@pytest.mark.parametrize("name", MADE)
def test_keyframes_are_known_without_decoding_and_are_those_of_a_decode(made: dict[str, Path], name: str) -> None:
    found = read_frame_facts(made[name], video_id="v")
    decoded = read_frame_facts(made[name], video_id="v", with_change=True)
    assert found.change.size == 0
    assert decoded.change.shape == (40,)
    if name != "h264-intra-refresh":  # its recovery points are keyframes to the container alone
        np.testing.assert_array_equal(found.is_keyframe, decoded.is_keyframe)
    assert found.is_keyframe[0]


def test_change_is_greatest_at_a_cut_and_none_where_nothing_moves(tmp_path: Path) -> None:
    other = [np.rot90(image, 2).copy() for image in IMAGES[:8]]
    path = encode_as(tmp_path / "cut.mp4", [*[IMAGES[0]] * 8, *other], encoder="mpeg4", qmax="2")
    change = read_frame_facts(path, video_id="v", with_change=True).change
    assert change.argmax() == 8
    assert change[0] == 0
    assert change[1:8].max() < 0.01 < change[9:].min()


def test_a_grey_video_has_no_change_to_speak_of_and_no_nan(tmp_path: Path) -> None:
    path = encode_as(tmp_path / "grey.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 4, encoder="mpeg4")
    assert read_frame_facts(path, video_id="v", with_change=True).change.tolist() == [0, 1, 1, 1]


def test_no_frame_outlives_the_reading(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Any]] = []
    original = frames._to_rgb

    def spy(video: Any, frame: av.VideoFrame) -> Any:
        image = original(video, frame)
        seen.append(weakref.ref(image))
        return image

    monkeypatch.setattr(frames, "_to_rgb", spy)
    found = read_frames(made["h264-b"], video_id="v", choose=lambda _: [20])
    assert seen[0]() is not None
    del found
    gc.collect()
    assert seen[0]() is None


@pytest.mark.shared
def test_real_files_give_the_same_frames_sought_or_counted(shared_dir: Path) -> None:
    odd = sorted(path for path in (shared_dir / "data/robust").iterdir() if path.suffix != ".tsv")
    genuine = sorted((shared_dir / "data/ucf101_5/videos").glob("*/*.avi"))[::50]
    for path in [*odd, shared_dir / "data/bench/h264_bframes_340x256.mp4", *genuine]:
        for chosen in ([0, 5, 1000003], [71]):
            check_same(outcome(path, chosen=chosen), outcome(path, chosen=chosen, seek=False))
