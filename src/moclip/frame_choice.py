"""Which frames an appearance variant sees of a video, and the frames: every policy, and what it must know first."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.errors import ShardError, VideoError
from moclip.extraction import Video
from moclip.features import open_indexed, read_index
from moclip.frames import Frames, read_frame_facts, read_frames
from moclip.motion import motion_from_row
from moclip.motion_amount import motion_amounts
from moclip.sampling import choose_frames
from moclip.shards import Row, Shard, build_digest

FrameReader = Callable[[Video], Frames]


@dataclass(frozen=True, kw_only=True)
class MotionRows:
    """The motion of some videos: where each lies, and the digest of its content."""

    shards: Mapping[str, Path]
    digests: Mapping[str, str]

    def digest_of(self, video_id: str) -> str:
        """Return the digest of a video's motion.

        Raises:
            ShardError: The video is not there.
        """
        try:
            return self.digests[video_id]
        except KeyError:
            raise ShardError(f"video {video_id}: expected its motion, which the frames follow; found none") from None


def list_motion_rows(motion_index: Path, *, file: str | None = None) -> MotionRows:
    """Return the rows behind an index of motion, those of one shard's file alone if it is named.

    Raises:
        ShardError: The index or a shard is missing, damaged or stale.
    """
    index = read_index(motion_index)
    shards: dict[str, Path] = {}
    digests: dict[str, str] = {}
    for indexed in index.shards:
        if file in (None, indexed.file):
            with open_indexed(index, indexed) as shard:
                rows = _rows_of(shard)
                shards |= rows.shards
                digests |= rows.digests
    return MotionRows(shards=shards, digests=digests)


def list_shard_rows(path: Path) -> MotionRows:
    """Return the rows of one shard of motion.

    Raises:
        ShardError: It is missing or damaged.
    """
    with Shard(path) as shard:
        return _rows_of(shard)


def _rows_of(shard: Shard) -> MotionRows:
    shards = dict.fromkeys(shard.video_ids, shard.path)
    return MotionRows(shards=shards, digests=dict(zip(shard.video_ids, shard.digests, strict=True)))


def build_frame_key(frames: Mapping[str, Any], *, motion: MotionRows | None) -> Callable[[Video], str]:
    """Return what names the row of a video: its bytes, and whatever else its frames follow from."""

    def key(video: Video) -> str:
        if frames["policy"] == "random":  # seeded by the id, so that a renamed video is another row
            return build_digest(video.fingerprint, video.video_id)
        if motion is not None:
            return build_digest(video.fingerprint, motion.digest_of(video.video_id))
        return video.fingerprint

    return key


def build_frame_reader(frames: Mapping[str, Any], *, motion: MotionRows | None) -> FrameReader:
    """Return what reads the frames of a video that a policy chooses; threads may share it.

    What is returned raises `VideoError` where the video, or the motion that the choice follows from, cannot be read.
    """
    policy, count = frames["policy"], frames["count"]

    def read(video: Video, *, num_frames: int | None = None, **known: NDArray[Any]) -> Frames:
        def choose(number: int) -> list[int]:
            chosen = choose_frames(policy, num_frames=number, num_selected=count, video_id=video.video_id, **known)
            return [int(index) for index in chosen]

        return read_frames(video.path, video_id=video.video_id, choose=choose, num_frames=num_frames)

    def read_keyframes(video: Video) -> Frames:
        facts = read_frame_facts(video.path, video_id=video.video_id)
        return read(video, num_frames=len(facts.is_keyframe), is_keyframe=facts.is_keyframe)

    def read_changes(video: Video) -> Frames:
        facts = read_frame_facts(video.path, video_id=video.video_id, with_change=True)
        return read(video, num_frames=len(facts.change), amounts=facts.change)

    if policy == "motion" and motion is not None:
        rows = _MotionReader(motion)
        return lambda video: read(video, num_frames=len(amounts := rows.amounts(video)), amounts=amounts)
    readers: dict[str, FrameReader] = {"keyframes": read_keyframes, "change": read_changes}
    return readers.get(policy, read)


class _MotionReader:
    """How much moves in the frames of a video, for one thread at a time: HDF5 knows no more."""

    def __init__(self, motion: MotionRows) -> None:
        self._motion, self._lock = motion, threading.Lock()

    def amounts(self, video: Video) -> NDArray[np.float64]:
        """Return `motion_amounts` of a video.

        Raises:
            VideoError: The video has no motion.
        """
        with self._lock:
            row = self._read_row(video)
        if row.reject_reason:
            raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=video.video_id)
        return motion_amounts(motion_from_row(row.values))

    def _read_row(self, video: Video) -> Row:
        expected = self._motion.digest_of(video.video_id)
        with Shard(self._motion.shards[video.video_id]) as shard:
            row = shard.read_row(video.video_id)
            if shard.digests[shard.video_ids.index(video.video_id)] != expected:
                raise ShardError(f"{shard.path}: video {video.video_id}: its motion changed under this job; run again")
        return row
