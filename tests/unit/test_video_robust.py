"""Real odd and broken files, beside the project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moclip.errors import REJECT_REASONS, VideoError
from moclip.frames import read_frames
from moclip.motion import MotionVectors
from moclip.motion_packing import NO_VECTOR
from moclip.video import read_motion

ROBUST = Path(__file__).resolve().parents[3] / "shared" / "data" / "robust"


def robust_files() -> list[str]:
    return sorted(path.name for path in ROBUST.iterdir() if path.suffix != ".tsv") if ROBUST.is_dir() else ["absent"]


def outcome(read: Callable[[], Any]) -> Any:
    """What it returns, or the reason why it is rejected."""
    try:
        return read()
    except VideoError as error:
        return error.reason


@pytest.mark.shared
@pytest.mark.parametrize("name", robust_files())
def test_every_odd_or_broken_file_ends_in_vectors_or_in_a_named_reason(shared_dir: Path, name: str) -> None:
    path = shared_dir / "data" / "robust" / name
    for source in ("original", "auto"):
        motion = outcome(lambda source=source: read_motion(path, video_id=name, source=source))  # type: ignore[misc]
        if isinstance(motion, str):
            assert motion in REJECT_REASONS
            continue
        assert len(motion.past_frame_index) == len(motion.past) > 0
        assert motion.num_frames == len(motion.time_seconds) == len(motion.is_keyframe) > max(motion.past_frame_index)
        assert (motion.past != NO_VECTOR).any(axis=(1, 2, 3)).all()
    frames = outcome(lambda: read_frames(path, video_id=name, choose=lambda number: [0, number - 1]))
    assert frames in REJECT_REASONS if isinstance(frames, str) else len(frames.images) == 2
    # What has vectors has frames.
    assert not (isinstance(frames, str) and isinstance(motion, MotionVectors))


@pytest.mark.shared
def test_real_rotated_files_stand_upright(shared_dir: Path) -> None:
    for name, rotation, shape in (
        ("decord__video_90.mov", 90, (568, 320, 3)),
        ("decord__video_180.mov", 180, (320, 568, 3)),
        ("decord__video_270.mov", 270, (568, 320, 3)),
    ):
        path = shared_dir / "data" / "robust" / name
        assert read_motion(path, video_id=name).rotation_degrees == rotation
        assert read_frames(path, video_id=name, choose=lambda number: [0]).images[0].shape == shape
