"""The embeddings of each stream, one row per video, as a run reads them from the cache."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.errors import ModelError
from moclip.features import FeatureTable, load_table

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


def shared_videos(video_ids: Iterable[str], *, streams: Iterable[Stream]) -> list[str]:
    """Return the videos that have an embedding in every stream, in the order given."""
    all_rows = [stream.rows for stream in streams]
    return [video_id for video_id in video_ids if all(video_id in rows for rows in all_rows)]
