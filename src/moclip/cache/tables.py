"""Cached features as arrays: embeddings of a stream, augmented views of training videos, motion vectors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.cache.index import FeatureTable, load_table, read_index
from moclip.cache.reader import Shard
from moclip.errors import ModelError, ShardError, VideoError
from moclip.motion.vectors import MotionVectors, motion_from_row

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One embedding per video, float32 (N, D), by video id; and the reason for each video that has none."""

    rows: Mapping[str, int]
    values: Floats
    rejected: Mapping[str, str]
    table: FeatureTable

    def select(self, video_ids: Sequence[str]) -> Floats:
        """Return the embeddings of these videos, in this order, (N, D)."""
        return self.values[[self.rows[video_id] for video_id in video_ids]]

    def most_frames(self, video_ids: Sequence[str]) -> int:
        """Return the largest number of frames that any of these videos has an embedding of, 0 where none has any."""
        rows = [self.rows[video_id] for video_id in video_ids if video_id in self.rows]
        return int(np.diff(self.table.offsets)[rows].max(initial=0))

    def select_frames(self, video_ids: Sequence[str], *, num_frames: int) -> tuple[Floats, Floats]:
        """Return embeddings of frames of these videos, (N, F, D), and (N, F), 1 where there is such a frame.

        F is `num_frames`; of more frames the first F count.
        """
        rows = np.array([self.rows[video_id] for video_id in video_ids], dtype=np.int64)
        starts, counts = self.table.offsets[:-1][rows], np.diff(self.table.offsets)[rows]
        steps = np.arange(num_frames)
        mask = steps < counts[:, None]
        places = np.where(mask, starts[:, None] + steps, starts[:, None])
        frames = self.table.values[places] * mask[:, :, None]
        return frames.astype(np.float32), mask.astype(np.float32)


def load_stream(index: Path, *, field: str = "embedding") -> Stream:
    """Return one field of the features behind an index, averaged over the frames of each video."""
    table = load_table(index, field=field)
    rows = {video_id: row for row, video_id in enumerate(table.video_ids)}
    values = pool_frames(table.values, offsets=table.offsets)
    return Stream(rows=rows, values=values, rejected=table.rejected, table=table)


def pool_frames(embeddings: Floats, *, offsets: NDArray[np.integer]) -> Floats:
    """Return the mean embedding of each video, float32 (N, D), from those of its frames, (sum of K_i, D).

    The frames of video i are `embeddings[offsets[i]:offsets[i + 1]]`.

    Raises:
        ModelError: The offsets do not cover the embeddings, or a video has no frame.
    """
    counts = np.diff(offsets)
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(embeddings) or counts.min() < 1:
        raise ModelError(
            f"frame pooling: expected offsets from 0 to {len(embeddings)} with a frame or more for every video"
        )
    sums = np.add.reduceat(embeddings.astype(np.float64), offsets[:-1], axis=0)
    return (sums / counts[:, None]).astype(np.float32)


def read_motion(shard: Path | str, video_id: str) -> MotionVectors:
    """Return the motion vectors of a video from a motion shard such as `motion/original/shard-0.h5`.

    Raises:
        ShardError: The shard is missing, damaged, or has no motion vectors of the video.
        VideoError: The video was rejected.
    """
    with Shard(Path(shard)) as opened:
        row = opened.read_row(video_id)
    if row.reject_reason:
        raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=video_id)
    if "past" not in row.values:
        raise ShardError(f"{shard}: expected motion vectors, found {', '.join(row.values)}; name a motion shard")
    return motion_from_row(row.values)


def shared_videos(video_ids: Iterable[str], *, streams: Iterable[Stream]) -> list[str]:
    """Return the videos that have an embedding in every stream, in the order given."""
    all_rows = [stream.rows for stream in streams]
    return [video_id for video_id in video_ids if all(video_id in rows for rows in all_rows)]


@dataclass(frozen=True, kw_only=True)
class Views:
    """Embeddings of videos, float32 (N, D), and the rows of each video's views among them: first row, count.

    A video without views, as those of validation and test are, has its embedding as its only one.
    """

    values: Floats
    places: Mapping[str, tuple[int, int]]

    def draw(self, stream: Stream, *, seed: int, epoch: int) -> Stream:
        """Return the stream with one view of each video: a random one, that follows from seed, epoch and id."""
        rows = {video_id: self._row(video_id, seed=seed, epoch=epoch) for video_id in stream.rows}
        return replace(stream, rows=rows, values=self.values)

    def _row(self, video_id: str, *, seed: int, epoch: int) -> int:
        start, count = self.places[video_id]
        drawn = blake2b(f"{seed}\0{epoch}\0{video_id}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return start + int.from_bytes(drawn, "little") % count


def load_views(index: Path) -> Views:
    """Return the views behind an index of motion embeddings.

    Raises:
        ShardError: The embeddings were extracted without views.
    """
    try:
        views = load_table(index, field="views")
    except KeyError:
        name = read_index(index).extractor
        raise ShardError(
            f"{index}: expected {name} with views, found none; set `motion_network.<name>.embedding.views.count`"
        ) from None
    plain = load_table(index, field="embedding")
    counts = np.diff(views.offsets)
    places = {
        video_id: (int(start), int(count)) if count else (len(views.values) + row, 1)
        for row, (video_id, start, count) in enumerate(zip(views.video_ids, views.offsets[:-1], counts, strict=True))
    }
    return Views(values=np.concatenate([views.values, plain.values]), places=places)
