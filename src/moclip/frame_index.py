"""The unit embeddings of all frames of a feature set as one file to search in, built once and mapped into memory."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from moclip.errors import ShardError
from moclip.features import FeatureIndex, open_indexed, read_index
from moclip.files import replace_atomically
from moclip.shards import Row, build_digest

Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)
_FORMAT = 1
_CHUNK = 2**16


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """Unit embeddings of the embedded frames of all videos.

    Attributes:
        video_ids: V ids, in the order of the shards.
        offsets: (V + 1,) int64; the frames of video i are `offsets[i]` to `offsets[i + 1]`.
        vectors: (N, D) float32 of unit length, mapped from the disk.
        frame_index: (N,) int32, which frame of its video each one is.
        time_seconds: (N,) float64, when it is shown, nan where unknown.
    """

    video_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    vectors: Floats
    frame_index: NDArray[np.int32]
    time_seconds: NDArray[np.float64]

    def similarity(self, query: Floats) -> Floats:
        """Return the cosine of every frame with a query of any length, (D,); float32 (N,), exact.

        Raises:
            ShardError: The query is of another width, or has no length.
        """
        length = float(np.linalg.norm(query.astype(np.float64)))
        if query.shape != self.vectors.shape[1:] or not np.isfinite(length) or not length:
            raise ShardError(
                f"search: expected a query of {self.vectors.shape[1]} finite numbers, not all zero; found the shape "
                f"{query.shape} and the length {length}"
            )
        unit = (query / length).astype(np.float32)
        found = np.empty(len(self.vectors), np.float32)
        for start in range(0, len(found), _CHUNK):
            found[start : start + _CHUNK] = self.vectors[start : start + _CHUNK] @ unit
        return found


def open_frame_index(index: Path, *, cache_dir: Path) -> FrameIndex:
    """Return the frames behind the feature index at `index`, from a file below `cache_dir` that is built if missing.

    The file is named after the content of the index, so that other features are another file.

    Raises:
        ShardError: A shard is missing, damaged or stale, or no video has features.
    """
    features = read_index(index)
    name = build_digest(_FORMAT, features.extractor, [shard.content for shard in features.shards])
    folder = cache_dir / "search" / name
    try:
        return _load(folder)
    except (OSError, ValueError, KeyError, BadZipFile):
        _build(folder, features=features)
        return _load(folder)


def _load(folder: Path) -> FrameIndex:
    with np.load(folder / "table.npz", allow_pickle=False) as table:
        shape = (int(table["offsets"][-1]), int(table["embedding_dim"]))
        vectors = np.memmap(folder / "vectors.f32", dtype=np.float32, mode="r", shape=shape)
        if (folder / "vectors.f32").stat().st_size != vectors.nbytes:
            raise ValueError("the vectors are those of another table")
        return FrameIndex(
            video_ids=tuple(table["video_ids"].tolist()),
            offsets=table["offsets"],
            # A plain array over the same memory: slices of a memmap are memmaps, which cost time to make.
            vectors=np.asarray(vectors),
            frame_index=table["frame_index"],
            time_seconds=table["time_seconds"],
        )


def _build(folder: Path, *, features: FeatureIndex) -> None:
    ids: list[str] = []
    columns: dict[str, list[NDArray[Any]]] = {"frame_index": [], "time_seconds": []}
    embedding_dim = 0
    with replace_atomically(folder / "vectors.f32") as temporary:
        with temporary.open("wb") as file:
            for row in _rows(features):
                units = _unit(np.asarray(row.values["embedding"], np.float32))
                file.write(units.tobytes())
                embedding_dim = units.shape[1]
                ids.append(row.video_id)
                for name, column in columns.items():
                    column.append(np.asarray(row.values[name]))
        if not ids:
            raise ShardError(f"{features.folder}: expected features to search in, found none; see rejects.tsv")
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in columns["frame_index"]])])
    with replace_atomically(folder / "table.npz", suffix=".npz") as temporary:
        np.savez(
            temporary,
            video_ids=np.array(ids),
            offsets=offsets.astype(np.int64),
            embedding_dim=np.int64(embedding_dim),
            frame_index=np.concatenate(columns["frame_index"]).astype(np.int32),
            time_seconds=np.concatenate(columns["time_seconds"]).astype(np.float64),
        )
    _log.info("%s: %d frames of %d videos to search in", folder, offsets[-1], len(ids))


def _rows(features: FeatureIndex) -> Iterator[Row]:
    for indexed in features.shards:
        with open_indexed(features, indexed) as shard:
            for position, reason in enumerate(shard.reject_reasons):
                if not reason:
                    yield shard.read_row_at(position)


def _unit(values: Floats) -> Floats:
    lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
