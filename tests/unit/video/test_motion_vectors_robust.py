"""Real odd and broken files, beside the project."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moclip.cache.reader import Shard
from moclip.config.settings import AppearanceVariant, FrameSettings, MotionVariant
from moclip.errors import MACHINE_REASONS, REJECT_REASONS, VideoError
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard
from moclip.extraction.motion import build_motion_extractor
from moclip.motion.vectors import NO_VECTOR, MotionVectors
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion

ROBUST = Path(__file__).resolve().parents[4] / "shared" / "data" / "robust"


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
def test_all_of_them_pass_through_both_stages_twice_with_the_same_bytes(shared_dir: Path, tmp_path: Path) -> None:
    folder = shared_dir / "data" / "robust"
    videos = [
        Video(video_id=path.name, path=path, fingerprint=blake2b(path.read_bytes(), digest_size=16).hexdigest())
        for path in sorted(folder.iterdir())
        if path.suffix != ".tsv"
    ]
    facts = pd.read_csv(folder / "facts.tsv", sep="\t").set_index("file")
    extractors = {"motion": build_motion_extractor(MotionVariant(source="auto")), "appearance": appearance_extractor()}
    for name, extractor in extractors.items():
        shards = []
        for attempt in ("one", "two"):
            place = tmp_path / name / attempt
            job = ShardJob(
                dataset="robust", root=folder, shard=0, num_shards=1, output=place / "shard-0.h5", cache_dir=place
            )
            extract_shard(extractor, videos=videos, job=job)
            shards.append(job.output)
        assert shards[0].read_bytes() == shards[1].read_bytes()
        with Shard(shards[0]) as shard:
            rows = [shard.read_row(video.video_id) for video in videos]
        reasons = {row.video_id: row.reject_reason for row in rows}
        assert set(reasons.values()) <= {"", *REJECT_REASONS} - MACHINE_REASONS
        assert 25 < list(reasons.values()).count("") < len(videos)
        without_frames = [file for file in reasons if facts["frames_decoded"][file] == 0]
        assert not [file for file in without_frames if not reasons[file]], "features of nothing"


def appearance_extractor() -> Extractor:
    return build_appearance_extractor(
        AppearanceVariant(
            model=f"local-dir:{Path(__file__).resolve().parents[3] / 'resources/demo-clip'}",
            frames=FrameSettings(policy="uniform", count=2),
            batch_size=8,
        )
    )


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
