"""The example of docs/formats.md reads motion vectors with h5py and hdf5plugin alone."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import moclip
from moclip.cache.format import Row, ShardHeader
from moclip.cache.writer import write_shard
from moclip.errors import ShardError, VideoError
from moclip.extraction.motion import MOTION_FIELDS
from moclip.video.motion_vectors import read_motion
from tests.unit.video.test_motion_vectors import encode, pan, render

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
VIDEO_ID = "StarBouncing/v_StarBouncing_g01_c01"
# h5py and hdf5plugin import the other modules of their own.
NO_MOCLIP = "import sys; sys.modules['moclip'] = None\n"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rows = []
    for video_id, size in (("A/first", (96, 64)), (VIDEO_ID, (160, 112)), ("Z/last", (160, 112))):
        frames = render(40, width=size[0], height=size[1], warp=pan(4, 0))
        motion = read_motion(encode(tmp_path / "v.mp4", frames, codec="h264", max_b_frames=2), video_id=video_id)
        rows.append(Row(video_id=video_id, row_key=video_id, values=vars(motion)))
    rejected = Row(video_id="Z/none", row_key="none", values={}, reject_reason="no_frames", reject_detail="empty")
    header = ShardHeader(extractor="motion", extractor_version=0, parameters={}, signature="", provenance={})
    write_shard(tmp_path / "shard-0.h5", rows=[*rows, rejected], fields=MOTION_FIELDS, header=header)
    return tmp_path / "shard-0.h5"


def test_the_documented_example_reads_the_vectors_without_this_library(shard: Path) -> None:
    example = re.findall(r"```python\n(import h5py.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example) == 1
    assert len([line for line in example[0].splitlines() if line.strip()]) <= 10
    save = "import numpy\nnumpy.savez('found.npz', past=past, has_vector=has_vector, visible_px=visible_px)\n"
    code = example[0].replace("results/demo/motion/original/", "")
    command = [sys.executable, "-I", "-c", NO_MOCLIP + code + save]
    subprocess.run(command, check=True, cwd=shard.parent)
    motion = moclip.read_motion(shard, VIDEO_ID)
    with np.load(shard.parent / "found.npz") as found:
        np.testing.assert_array_equal(found["past"], motion.past, strict=True)
        seen = found["visible_px"][found["has_vector"]]
    assert np.median(seen, axis=0).tolist() == [4, 0]


def test_read_motion_returns_the_vectors_that_were_written(shard: Path) -> None:
    motion = moclip.read_motion(str(shard), "A/first")
    assert motion.past.shape[1:] == motion.future.shape[1:] == (8, 12, 2)
    assert len(motion.future) > 0
    field = moclip.build_fields(motion, [1], spec=moclip.FieldSpec(kind="raw", stride=8))
    assert np.median(field[..., 0]) == 4


def test_read_motion_names_the_reason_of_a_video_without_motion(shard: Path) -> None:
    with pytest.raises(VideoError, match="video Z/none: no_frames"):
        moclip.read_motion(shard, "Z/none")
    with pytest.raises(ShardError, match="no row for video B"):
        moclip.read_motion(shard, "B")


def test_the_public_names_are_imported_on_first_use() -> None:
    script = "import sys, moclip; assert not {'h5py', 'numpy', 'av', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True)
