"""Choose and decode the frames of a video by the frame policy of an appearance variant."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import Row
from moclip.cache.index import open_indexed, read_index
from moclip.cache.reader import Shard
from moclip.core.digests import build_digest
from moclip.errors import ShardError, VideoError
from moclip.motion.fields import motion_amounts
from moclip.motion.vectors import motion_from_row
from moclip.video.frames import Frames, read_frame_facts, read_frames
from moclip.video.motion_vectors import prepare_worker
from moclip.video.sampling import choose_frames

if TYPE_CHECKING:
    from moclip.extraction.extractor import Video


class FrameReader(Protocol):
    """What reads the frames of a video that a policy chooses."""

    def __call__(self, path: Path, *, video_id: str) -> Frames:
        """Return the frames of the video."""


@dataclass(frozen=True, kw_only=True)
class MotionRows:
    """The motion of some videos: the place of each, and the digest of its content."""

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

    def place_of(self, video_id: str) -> tuple[str, str]:
        """Return the shard that holds a video's motion, and the digest of that.

        Raises:
            ShardError: The video is not there.
        """
        digest = self.digest_of(video_id)
        return str(self.shards[video_id]), digest


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


def build_frame_key(frames: Mapping[str, Any], *, motion: MotionRows | None) -> "Callable[[Video], str]":
    """Return the key of a video's row: its fingerprint, and everything else that its frames depend on."""

    def key(video: "Video") -> str:
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

    def read(path: Path, *, video_id: str, num_frames: int | None = None, **known: NDArray[Any]) -> Frames:
        def choose(number: int) -> list[int]:
            chosen = choose_frames(policy, num_frames=number, num_selected=count, video_id=video_id, **known)
            return [int(index) for index in chosen]

        return read_frames(path, video_id=video_id, choose=choose, num_frames=num_frames)

    def read_keyframes(path: Path, *, video_id: str) -> Frames:
        known = read_frame_facts(path, video_id=video_id).is_keyframe
        return read(path, video_id=video_id, num_frames=len(known), is_keyframe=known)

    def read_changes(path: Path, *, video_id: str) -> Frames:
        known = read_frame_facts(path, video_id=video_id, with_change=True).change
        return read(path, video_id=video_id, num_frames=len(known), amounts=known)

    def read_moving(path: Path, *, video_id: str, rows: _MotionReader) -> Frames:
        known = rows.amounts(video_id)
        return read(path, video_id=video_id, num_frames=len(known), amounts=known)

    readers: dict[str, FrameReader] = {"keyframes": read_keyframes, "change": read_changes}
    if motion is not None:
        readers["motion"] = partial(read_moving, rows=_MotionReader(motion))
    return readers.get(policy, read)


def decode_frames(
    *, video_id: str, path: str, frames: Mapping[str, Any], motion: tuple[str, str] | None
) -> dict[str, Any]:
    """Return the chosen frames of a video: `frame_index`, `time_seconds`, `num_frames`, and `image_<k>` for each frame.

    `motion` is the shard that holds the motion which the frames follow, and its digest there.

    Raises:
        VideoError: It cannot be read.
    """
    prepare_worker()
    rows = None
    if motion is not None:
        rows = MotionRows(shards={video_id: Path(motion[0])}, digests={video_id: motion[1]})
    found = build_frame_reader(frames, motion=rows)(Path(path), video_id=video_id)
    images = {f"image_{number}": image for number, image in enumerate(found.images)}
    return {name: getattr(found, name) for name in ("frame_index", "time_seconds", "num_frames")} | images


def rebuild_frames(values: Mapping[str, Any]) -> Frames:
    """Return the frames that `decode_frames` described."""
    images: list[NDArray[np.uint8]] = [values[f"image_{number}"] for number in range(len(values["frame_index"]))]
    return Frames(
        images=tuple(images),
        frame_index=values["frame_index"],
        time_seconds=values["time_seconds"],
        num_frames=values["num_frames"],
    )


class _MotionReader:
    """How much moves in the frames of a video, for one thread at a time: HDF5 knows no more."""

    def __init__(self, motion: MotionRows) -> None:
        self._motion, self._lock = motion, threading.Lock()

    def amounts(self, video_id: str) -> NDArray[np.float64]:
        """Return `motion_amounts` of a video.

        Raises:
            VideoError: The video has no motion.
        """
        with self._lock:
            row = self._read_row(video_id)
        if row.reject_reason:
            raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=video_id)
        return motion_amounts(motion_from_row(row.values))

    def _read_row(self, video_id: str) -> Row:
        expected = self._motion.digest_of(video_id)
        with Shard(self._motion.shards[video_id]) as shard:
            row = shard.read_row(video_id)
            if shard.digests[shard.video_ids.index(video_id)] != expected:
                raise ShardError(f"{shard.path}: video {video_id}: its motion changed under this job; run again")
        return row
