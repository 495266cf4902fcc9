"""Damaged videos: vectors that FFmpeg's error concealment invents are not stored."""

from pathlib import Path

import av
import numpy as np
import pytest

from moclip.errors import VideoError
from moclip.motion.vectors import MotionVectors
from moclip.video.container import open_video
from moclip.video.motion_vectors import read_motion
from tests.unit.video.test_motion_vectors import encode_as, pan, render

MADE = {
    "h264": ("mp4", "libx264", {"bf": "2", "x264-params": "keyint=8:slices=3"}),
    "h264-p": ("mkv", "libx264", {"bf": "0", "x264-params": "keyint=8:slices=3"}),
    "mpeg2": ("mkv", "mpeg2video", {"bf": "1"}),
    "mpeg4": ("avi", "mpeg4", {}),
}


def damage(path: Path, *, seed: int) -> None:
    """Flip some bytes of the pictures."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos]
    rng = np.random.default_rng(seed)
    for number in rng.choice(len(packets) - 1, size=3, replace=False) + 1:
        position, size = packets[number]
        data[position + int(rng.integers(size // 2, size - 8))] ^= 0xFF
    path.write_bytes(data)


def count_vectors(path: Path) -> dict[int, tuple[int, int]]:
    """Number and sum of the past vectors of each frame, from a decoder that takes no shortcut."""
    found = {}
    with open_video(path, video_id="v") as video:
        video.set_options({"flags2": "+export_mvs"})
        for index, frame in enumerate(video.decode()):
            vectors = frame.side_data.get("MOTION_VECTORS")
            table = None if vectors is None else vectors.to_ndarray()
            if table is not None and (table["source"] == -1).any():
                past = table[table["source"] == -1]
                cells = past["w"].astype(int) * past["h"] // 64
                found[index] = (int(cells.sum()), int((cells * past["motion_x"]).sum()))
            del frame, vectors, table
    return found


def count_stored(motion: MotionVectors) -> dict[int, tuple[int, int]]:
    has = motion.past[..., 0] != np.iinfo(np.int16).min
    return {
        int(index): (int(has[row].sum()), int(motion.past[row, ..., 0][has[row]].sum()))
        for row, index in enumerate(motion.past_frame_index)
    }


@pytest.mark.parametrize("name", MADE)
def test_only_vectors_of_the_bitstream_are_stored(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    suffix, encoder, options = MADE[name]
    clean = encode_as(tmp_path / f"clean.{suffix}", render(24, warp=pan(3, 1)), encoder=encoder, **options)
    whole = count_stored(read_motion(clean, video_id="clean"))
    assert whole == count_vectors(clean)
    assert not caplog.records
    num_dropped = num_kept = 0
    lowest = 10 if encoder == "libx264" else 5
    for seed in range(12):
        path = tmp_path / f"{seed}.{suffix}"
        path.write_bytes(clean.read_bytes())
        damage(path, seed=seed)
        try:
            motion = read_motion(path, video_id="v")
        except VideoError:
            continue
        stored, exported = count_stored(motion), count_vectors(path)
        if encoder == "libx264":
            assert stored.items() <= exported.items()
        # Nothing is concealed at the reduced size that MPEG codecs are decoded at, so only vectors can be missing.
        assert all(stored[index][0] <= exported[index][0] for index in stored)
        num_dropped += len(exported) - len(stored)
        num_kept += len(stored)
    assert num_dropped > lowest
    assert num_kept > 100
    assert "whose vectors are not stored" in caplog.text
