"""Frames and transcoded vectors do not depend on the instruction set of the processor."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.video.test_motion_vectors import encode_as, pan, render

# Takes all instruction sets from FFmpeg's choice, then prints digests of decoded frames and of transcoded vectors.
READ = """
import ctypes, hashlib, sys
from pathlib import Path
import av
if sys.argv[2] == "plain":
    library = next(line.split()[-1] for line in open("/proc/self/maps") if "libavutil" in line)
    ctypes.CDLL(library).av_force_cpu_flags(0)
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
path = Path(sys.argv[1])
frames = read_frames(path, video_id="v", choose=lambda number: range(number))
print(hashlib.sha256(b"".join(image.tobytes() for image in frames.images)).hexdigest())
motion = read_motion(path, video_id="v", source="transcode")
print(hashlib.sha256(motion.past.tobytes()).hexdigest())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the library of FFmpeg is found in /proc")
@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "h263p", "libx264", "msmpeg4"])
def test_frames_and_transcoded_vectors_are_equal_without_simd(tmp_path: Path, codec: str) -> None:
    path = encode_as(tmp_path / "v.avi", render(16, warp=pan(3, 1)), encoder=codec, qmin="1", qmax="3")
    found = [
        subprocess.run([sys.executable, "-c", READ, str(path), mode], capture_output=True, text=True, check=True).stdout
        for mode in ("simd", "plain")
    ]
    assert found[0] == found[1] != ""
