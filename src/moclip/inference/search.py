"""Search cached appearance embeddings by text or by video, exactly, with the time of each hit."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import Row
from moclip.cache.index import FeatureIndex, open_indexed, read_index
from moclip.core.cache_folder import claim_folder, read_folders
from moclip.core.digests import digest_file, seal, unseal
from moclip.core.files import replace_atomically, write_json
from moclip.core.numerics import unit
from moclip.errors import ShardError, VideoError
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Video, finished_rows
from moclip.inference.settings import AppearanceSource

Similarities = NDArray[np.floating]

# A rise by less than this share of the video's whole range is noise, not the next peak.
_NOISE_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A stretch of embedded frames of one video: first, best and last one (0-based, inclusive), and the best value."""

    start: int
    peak: int
    stop: int
    similarity: float


def find_moments(similarity: Similarities, *, limit: int) -> list[Moment]:
    """Return up to `limit` moments of a video, best first, from the similarity of each of its frames, (K,).

    A moment goes from its peak down to the lowest frame on either side before the similarity rises again by more than
    noise, or to the moment next to it. Moments share no frame.

    >>> [(moment.start, moment.peak, moment.stop) for moment in find_moments(np.array([1, 3, 9, 2, 8, 0]), limit=2)]
    [(0, 2, 3), (4, 4, 5)]
    """
    noise = _NOISE_SHARE * float(np.ptp(similarity)) if len(similarity) else 0.0
    free = np.ones(len(similarity), dtype=bool)
    moments: list[Moment] = []
    while len(moments) < limit and free.any():
        peak = int(np.where(free, similarity, -np.inf).argmax())
        start = peak - _walk(similarity[peak::-1], free=free[peak::-1], noise=noise)
        stop = peak + _walk(similarity[peak:], free=free[peak:], noise=noise)
        moments.append(Moment(start=start, peak=peak, stop=stop, similarity=float(similarity[peak])))
        free[start : stop + 1] = False
    return moments


def _walk(similarity: Similarities, *, free: NDArray[np.bool_], noise: float) -> int:
    # How many frames from a peak to its valley, along frames that no other moment has.
    taken = np.flatnonzero(~free)
    values = similarity[: taken[0]] if len(taken) else similarity
    lowest = np.minimum.accumulate(values)
    risen = np.flatnonzero(values - lowest > noise)
    return int(values[: risen[0] if len(risen) else len(values)].argmin())


def rank_moments(
    similarity: Similarities, *, offsets: NDArray[np.integer], limit: int, per_video: int = 1
) -> list[tuple[int, Moment]]:
    """Return the best moments over all videos as (number of the video, moment), best first.

    `similarity` is (N,) over the frames of all videos; those of video i are `similarity[offsets[i]:offsets[i + 1]]`.
    Of equals the earlier video comes first.
    """
    best = np.maximum.reduceat(similarity, offsets[:-1])
    # A moment among the best ones is in one of the best videos: each of these has one as good as its best frame.
    videos = np.argsort(-best, kind="stable")[:limit]
    found = [
        (int(video), moment)
        for video in sorted(videos.tolist())
        for moment in find_moments(similarity[offsets[video] : offsets[video + 1]], limit=per_video)
    ]
    return sorted(found, key=lambda entry: -entry[1].similarity)[:limit]


Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)

_CHUNK = 2**16

# Written last: a folder without it is built again.
_DIGESTS = "digests.json"


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
    name = features.shards_digest
    for folder in read_folders(cache_dir, "search", name):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            return _load(folder)
    folder = claim_folder(cache_dir, "search", name)
    _build(folder, features=features)
    return _load(folder)


def _load(folder: Path) -> FrameIndex:
    digests = unseal(json.loads((folder / _DIGESTS).read_text(encoding="utf-8")))
    if any(digest_file(folder / name) != digest for name, digest in digests.items()):
        raise ValueError("its files do not match their digests")
    with np.load(folder / "table.npz", allow_pickle=False) as table:
        shape = (int(table["offsets"][-1]), int(table["embedding_dim"]))
        vectors = np.memmap(folder / "vectors.f32", dtype=np.float32, mode="r", shape=shape)
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
                units = unit(np.asarray(row.values["embedding"])).astype(np.float32)
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
    write_json(folder / _DIGESTS, seal({name: digest_file(folder / name) for name in ("table.npz", "vectors.f32")}))
    _log.info("%s: %d frames of %d videos to search in", folder, offsets[-1], len(ids))


def _rows(features: FeatureIndex) -> Iterator[Row]:
    for indexed in features.shards:
        with open_indexed(features, indexed) as shard:
            for position, reason in enumerate(shard.reject_reasons):
                if not reason:
                    yield shard.read_row_at(position)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A stretch of a video that is like the query.

    Attributes:
        video_id: The video.
        similarity: Cosine of its best frame with the query, -1 to 1.
        start_seconds, peak_seconds, stop_seconds: First, best and last embedded frame; nan where times are unknown.
        start_frame, peak_frame, stop_frame: The same frames, counted from 0.
        curve: (time in seconds, cosine) of every embedded frame of the video.
    """

    video_id: str
    similarity: float
    start_seconds: float
    peak_seconds: float
    stop_seconds: float
    start_frame: int
    peak_frame: int
    stop_frame: int
    curve: tuple[tuple[float, float], ...]


def search_frames(frames: FrameIndex, query: Floats, *, limit: int, per_video: int = 1) -> list[Hit]:
    """Return the moments most like a query embedding, (D,), best first: `limit` in all, `per_video` of a video."""
    similarity = frames.similarity(query)
    ranked = rank_moments(similarity, offsets=frames.offsets, limit=limit, per_video=per_video)
    hits: list[Hit] = []
    for video, moment in ranked:
        first, last = int(frames.offsets[video]), int(frames.offsets[video + 1])
        places = [first + at for at in (moment.start, moment.peak, moment.stop)]
        start, peak, stop = (float(frames.time_seconds[place]) for place in places)
        start_frame, peak_frame, stop_frame = (int(frames.frame_index[place]) for place in places)
        curve = zip(frames.time_seconds[first:last].tolist(), similarity[first:last].tolist(), strict=True)
        hits.append(
            Hit(
                video_id=frames.video_ids[video],
                similarity=moment.similarity,
                start_seconds=start,
                peak_seconds=peak,
                stop_seconds=stop,
                start_frame=start_frame,
                peak_frame=peak_frame,
                stop_frame=stop_frame,
                curve=tuple(curve),
            )
        )
    return hits


def embed_sentence(source: AppearanceSource, sentence: str, *, device: str = "") -> Floats:
    """Return the embedding of a sentence, (D,), by the text tower of the encoder that embedded the frames."""
    from moclip.encoders.clip import load_encoder  # noqa: PLC0415 (seconds to import)

    embeddings: Floats = load_encoder(source.on(device)).encode_texts([sentence])
    return np.asarray(embeddings[0], np.float32)


def embed_example(source: AppearanceSource, path: Path, *, device: str = "") -> Floats:
    """Return the mean unit embedding of the frames of a video, (D,), chosen and embedded as those of the dataset.

    Raises:
        VideoError: The video cannot be decoded.
    """
    extractor = build_appearance_extractor(source.on(device))
    row = next(finished_rows(extractor, [Video(video_id=str(path), path=path, fingerprint="")]))
    if row.reject_reason:
        raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=str(path))
    return np.asarray(unit(np.asarray(row.values["embedding"])).mean(axis=0), np.float32)


def format_time(seconds: float) -> str:
    """Return a time as minutes and seconds, `-` where it is unknown.

    >>> format_time(83.25)
    '1:23.25'
    """
    if not math.isfinite(seconds):
        return "-"
    hundredths = max(0, round(seconds * 100))
    return f"{hundredths // 6000}:{hundredths % 6000 / 100:05.2f}"


def hits_as_rows(hits: Sequence[Hit]) -> list[dict[str, str | int | float | None]]:
    """Return the hits as rows of a table, ready for JSON: rank from 1, None for unknown times."""
    return [
        {
            "rank": rank,
            "video_id": hit.video_id,
            "similarity": round(hit.similarity, 6),
            **{
                name: round(value, 3) if math.isfinite(value := getattr(hit, name)) else None
                for name in ("start_seconds", "peak_seconds", "stop_seconds")
            },
            **{name: getattr(hit, name) for name in ("start_frame", "peak_frame", "stop_frame")},
        }
        for rank, hit in enumerate(hits, start=1)
    ]
