"""The embeddings of each stream, one row per video, as a run reads them from the cache."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.features import load_table, read_index
from moclip.heads import pool_frames

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One embedding per video, float32 (N, D), by video id; and the reason for each video that has none."""

    rows: Mapping[str, int]
    values: Floats
    rejected: Mapping[str, str]

    def select(self, video_ids: Sequence[str]) -> Floats:
        """Return the embeddings of these videos, in this order, (N, D)."""
        return self.values[[self.rows[video_id] for video_id in video_ids]]


def load_stream(index: Path, *, field: str = "embedding") -> Stream:
    """Return one field of the features behind an index, averaged over the frames of each video."""
    table = load_table(index, field=field)
    rows = {video_id: row for row, video_id in enumerate(table.video_ids)}
    return Stream(rows=rows, values=pool_frames(table.values, offsets=table.offsets), rejected=table.rejected)


def shared_videos(video_ids: Iterable[str], *, streams: Iterable[Stream]) -> list[str]:
    """Return the videos that have an embedding in every stream, in the order given."""
    all_rows = [stream.rows for stream in streams]
    return [video_id for video_id in video_ids if all(video_id in rows for rows in all_rows)]


def index_fingerprint(index: Path) -> str:
    """Return 32 hex digits over all rows behind an index, in any shards: what a run notes of what it read."""
    return read_index(index).content
