"""Choose and decode the frames of a video by the frame policy of an appearance variant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moclip.cache.index import open_indexed, read_index
from moclip.cache.reader import Shard
from moclip.core.digests import build_digest
from moclip.errors import ShardError, VideoError
from moclip.motion.fields import motion_amounts
from moclip.motion.vectors import motion_from_row
from moclip.video.frames import Frames, read_frame_facts, read_frames
from moclip.video.motion_vectors import prepare_worker
from moclip.video.sampling import choose_frames

if TYPE_CHECKING:  # a worker that decodes parses no settings
    from moclip.config.settings import FrameSettings
    from moclip.extraction.extractor import Video


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


def build_frame_key(frames: "FrameSettings", *, motion: MotionRows | None) -> "Callable[[Video], str]":
    """Return the key of a video's row: its fingerprint, and everything else that its frames depend on."""

    def key(video: "Video") -> str:
        if frames.policy == "random":  # seeded by the id, so that a renamed video is another row
            return build_digest(video.fingerprint, video.video_id)
        if motion is not None:
            return build_digest(video.fingerprint, motion.digest_of(video.video_id))
        return video.fingerprint

    return key


def decode_frames(
    *, video_id: str, path: str, policy: str, count: int, motion: tuple[str, str] | None
) -> dict[str, Any]:
    """Return the chosen frames of a video: `frame_index`, `time_seconds`, `num_frames`, and `image_<k>` for each frame.

    `motion` is the shard that holds the motion which the frames follow, and its digest there.

    Raises:
        VideoError: The video, or the motion that its frames follow, cannot be read.
    """
    prepare_worker()
    known = read_frame_choice(Path(path), video_id=video_id, policy=policy)
    if motion is not None:
        known = {"amounts": _read_amounts(Path(motion[0]), video_id=video_id, digest=motion[1])}

    def choose(number: int) -> list[int]:
        chosen = choose_frames(policy, num_frames=number, num_selected=count, video_id=video_id, **known)
        return [int(index) for index in chosen]

    num_frames = next((len(values) for values in known.values()), None)
    found = read_frames(Path(path), video_id=video_id, choose=choose, num_frames=num_frames)
    images = {f"image_{number}": image for number, image in enumerate(found.images)}
    return {name: getattr(found, name) for name in ("frame_index", "time_seconds", "num_frames")} | images


def read_frame_choice(path: Path, *, video_id: str, policy: str) -> dict[str, NDArray[Any]]:
    """Return the facts of every frame, (T,) each, that a policy chooses by, if they follow from the pictures.

    Raises:
        VideoError: The video cannot be read.
    """
    if policy == "keyframes":
        return {"is_keyframe": read_frame_facts(path, video_id=video_id).is_keyframe}
    if policy == "change":
        return {"amounts": read_frame_facts(path, video_id=video_id, with_change=True).change}
    return {}


def _read_amounts(path: Path, *, video_id: str, digest: str) -> NDArray[np.float64]:
    with Shard(path) as shard:
        row = shard.read_row(video_id)
        if shard.digests[shard.video_ids.index(video_id)] != digest:
            raise ShardError(f"{shard.path}: video {video_id}: its motion changed under this job; run again")
    if row.reject_reason:
        raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=video_id)
    return motion_amounts(motion_from_row(row.values))


def rebuild_frames(values: Mapping[str, Any]) -> Frames:
    """Return the frames that `decode_frames` described."""
    images: list[NDArray[np.uint8]] = [values[f"image_{number}"] for number in range(len(values["frame_index"]))]
    return Frames(
        images=tuple(images),
        frame_index=values["frame_index"],
        time_seconds=values["time_seconds"],
        num_frames=values["num_frames"],
    )
