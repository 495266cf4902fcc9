"""Augmented views of training videos, as a head that trains on them reads them from the cache."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.errors import ShardError
from moclip.features import load_table, read_index
from moclip.streams import Stream

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Views:
    """Embeddings of videos, float32 (N, D), and where the views of each video lie among them: first row, count.

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
            f"{index}: expected {name} with views, found none; set `motion_network.<name>.test.views.count`"
        ) from None
    plain = load_table(index, field="embedding")
    counts = np.diff(views.offsets)
    places = {
        video_id: (int(start), int(count)) if count else (len(views.values) + row, 1)
        for row, (video_id, start, count) in enumerate(zip(views.video_ids, views.offsets[:-1], counts, strict=True))
    }
    return Views(values=np.concatenate([views.values, plain.values]), places=places)
