"""Text to video, and video to video, over cached appearance embeddings: exact, and with the time where it happens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.appearance_extraction import build_appearance_extractor
from moclip.encoder_spec import build_encoder_spec
from moclip.errors import VideoError
from moclip.extraction import Video, finished_rows
from moclip.frame_index import FrameIndex
from moclip.moments import rank_moments
from moclip.run_settings import AppearanceSource

Floats = NDArray[np.float32]


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
    from moclip.appearance import load_encoder  # noqa: PLC0415 (seconds to import)

    embeddings: Floats = load_encoder(build_encoder_spec(source.on(device))).encode_texts([sentence])
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
    values = np.asarray(row.values["embedding"], np.float64)
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(units.mean(axis=0), np.float32)


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
