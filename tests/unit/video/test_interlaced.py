"""Interlaced video: vectors of fields are never taken for motion of frames."""

from pathlib import Path

import numpy as np
import pytest

from moclip.errors import VideoError
from moclip.motion.fields import FieldSpec, build_fields
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
from tests.unit.video.test_motion_vectors import Images, encode_as, inner, pan, render

INTERLACED = {
    "h264-mbaff": ("mp4", "libx264", {"x264-params": "interlaced=1"}),
    "h264-mbaff-bottom-first": ("ts", "libx264", {"x264-params": "bff=1", "bf": "2"}),
    "mpeg2": ("mpg", "mpeg2video", {"flags": "+ildct+ilme"}),
    "mpeg2-b": ("mkv", "mpeg2video", {"flags": "+ildct+ilme", "bf": "2"}),
    "mpeg4": ("avi", "mpeg4", {"flags": "+ildct+ilme"}),
    "mpeg4-mp4": ("mp4", "mpeg4", {"flags": "+ildct+ilme"}),
}


def interlace(dx: int, dy: int, *, num_frames: int = 8) -> Images:
    """Frames whose lower field was taken half a frame after the upper one."""
    fields = render(2 * num_frames, warp=pan(dx / 2, dy / 2))
    images = []
    for upper, lower in zip(fields[::2], fields[1::2], strict=True):
        image = upper.copy()
        image[1::2] = lower[1::2]
        images.append(image)
    return images


@pytest.mark.parametrize("name", INTERLACED)
@pytest.mark.parametrize(("dx", "dy"), [(0, 4), (3, -6)])
def test_interlaced_video_is_refused_or_transcoded_to_its_motion(tmp_path: Path, name: str, dx: int, dy: int) -> None:
    suffix, encoder, options = INTERLACED[name]
    path = encode_as(tmp_path / f"v.{suffix}", interlace(dx, dy), encoder=encoder, **options)
    with pytest.raises(VideoError, match=r"interlaced .*frame 0 of .*; transcode the video"):
        read_motion(path, video_id="v")
    motion = read_motion(path, video_id="v", source="auto")
    assert motion.source.startswith("transcode:")
    raw = inner(build_fields(motion, [4, 5, 6], spec=FieldSpec(kind="raw")).mean(axis=0))
    found = np.median(raw, axis=(0, 1)) * [160 / 340, 112 / 256]
    np.testing.assert_allclose(found, [dx, dy], atol=0.5)


@pytest.mark.parametrize("encoder", ["libx264", "mpeg2video", "mpeg4"])
def test_progressive_video_keeps_its_own_vectors(tmp_path: Path, encoder: str) -> None:
    path = encode_as(tmp_path / "v.mkv", render(8, warp=pan(0, 6)), encoder=encoder)
    assert read_motion(path, video_id="v", source="auto").source == "original"


def test_a_single_interlaced_part_makes_a_stream_interlaced(tmp_path: Path) -> None:
    images = render(8, warp=pan(0, 4))
    plain = encode_as(tmp_path / "plain.m2v", images, encoder="mpeg2video")
    fields = encode_as(tmp_path / "fields.m2v", interlace(0, 4), encoder="mpeg2video", flags="+ildct+ilme")
    joined = tmp_path / "joined.m2v"
    joined.write_bytes(plain.read_bytes() + fields.read_bytes())
    with pytest.raises(VideoError, match=r"interlaced .*frame [78] of mpeg2video"):
        read_motion(joined, video_id="joined")
    num_frames = read_frames(joined, video_id="joined", choose=lambda number: [0]).num_frames
    assert read_motion(joined, video_id="joined", source="auto").num_frames == num_frames >= 15
