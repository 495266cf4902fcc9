"""Extract the streams of new videos with the extractors that fill the cache."""

import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import Row, ShardHeader
from moclip.cache.index import FeatureTable
from moclip.cache.tables import Stream, pool_frames
from moclip.cache.writer import write_shard
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Extractor, Video, finished_rows
from moclip.extraction.frame_choice import MotionRows, list_shard_rows
from moclip.extraction.motion import MOTION_FIELDS, build_motion_extractor
from moclip.extraction.motion_embedding import build_motion_embedding_extractor
from moclip.inference.run import RunParts
from moclip.inference.settings import with_device
from moclip.motion.fields import has_frames_with_motion

# Videos whose vectors go to the network together: few at first, so that the first answer comes soon.
_MOTION_BATCHES = (1, 4, 16, 64)

_DONE = None

# Of a shard that lives as long as a prediction.
_HEADER = ShardHeader(extractor="motion", extractor_version=0, parameters={}, signature="", provenance={})


@dataclass(frozen=True, kw_only=True)
class StreamRow:
    """One stream of one video: its row, and where its vectors come from (`original`, a recipe, or nothing)."""

    stream: str
    row: Row
    source: str = ""


def extract_streams(
    parts: RunParts, videos: Sequence[Video], *, num_threads: int = 1, device: str = ""
) -> Iterator[StreamRow]:
    """Yield the rows of every stream of the run for every video, as they finish; the streams run side by side."""
    makers: list[Callable[[], Iterator[StreamRow]]] = []
    if parts.motion_network is not None:
        makers.append(lambda: extract_motion(parts, videos, device=device))
    if parts.appearance is not None:
        makers.append(lambda: _extract_appearance(parts, videos, num_threads=num_threads, device=device))
    if len(makers) > 1:
        # Both import torchvision, whose modules import each other: two threads that do so at the same time fail.
        import_module("moclip.encoders.clip")
        import_module("moclip.encoders.motion_network")
    yield from _side_by_side(makers)


def _side_by_side(makers: Sequence[Callable[[], Iterator[StreamRow]]]) -> Iterator[StreamRow]:
    # Decoding, torch and numpy let other threads run while they compute.
    found: queue.Queue[StreamRow | BaseException | None] = queue.Queue()
    stopped = threading.Event()

    def work(make: Callable[[], Iterator[StreamRow]]) -> None:
        try:
            for entry in make():
                if stopped.is_set():
                    return
                found.put(entry)
            found.put(_DONE)
        except BaseException as error:
            found.put(error)

    threads = [threading.Thread(target=work, args=(make,), daemon=True) for make in makers]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            entry = found.get()
            if isinstance(entry, BaseException):
                raise entry
            if entry is _DONE:
                running -= 1
            else:
                yield entry
    finally:
        stopped.set()


def _extract_appearance(
    parts: RunParts, videos: Sequence[Video], *, num_threads: int, device: str
) -> Iterator[StreamRow]:
    if parts.appearance is None:
        return
    with _motion_to_follow(parts, videos) as motion:
        variant = with_device(parts.appearance, device)
        extractor = build_appearance_extractor(variant, motion=motion, num_threads=num_threads)
        for row in finished_rows(extractor, videos):
            yield StreamRow(stream="appearance", row=row)


@contextmanager
def _motion_to_follow(parts: RunParts, videos: Sequence[Video]) -> Iterator[MotionRows | None]:
    """Yield the motion of all videos, in a shard of their own, where the frames of the run follow motion."""
    if parts.followed is None:
        yield None
        return
    extractor = build_motion_extractor(parts.followed.lenient)
    with tempfile.TemporaryDirectory(prefix="moclip-") as folder:
        path = Path(folder) / "motion.h5"
        write_shard(path, rows=finished_rows(extractor, videos), fields=MOTION_FIELDS, header=_HEADER)
        yield list_shard_rows(path)


def extract_motion(parts: RunParts, videos: Sequence[Video], *, device: str) -> Iterator[StreamRow]:
    """Yield the motion embedding of every video: its vectors, through a shard of their own, through the network."""
    if parts.motion is None:
        return
    extractor = build_motion_extractor(parts.motion.lenient)
    for batch in _batches(videos):
        yield from embed_motion(parts, list(finished_rows(extractor, batch)), device=device)


def embed_motion(parts: RunParts, rows: Sequence[Row], *, device: str = "") -> Iterator[StreamRow]:
    """Yield the motion embedding of every row of motion vectors, as the motion embedding stage computes it."""
    if parts.network is None or parts.motion_network is None:
        return
    rows = [_reject_if_still(row) for row in rows]
    embedder = build_motion_embedding_extractor(with_device(parts.motion_network, device), model=parts.network)
    sources = {row.video_id: str(row.values.get("source", "")) for row in rows}
    with tempfile.TemporaryDirectory(prefix="moclip-") as folder:
        path = Path(folder) / "motion.h5"
        write_shard(path, rows=rows, fields=MOTION_FIELDS, header=_HEADER)
        digests = list_shard_rows(path).digests
        videos = [Video(video_id=row.video_id, path=path, fingerprint=digests[row.video_id]) for row in rows]
        for row in finished_rows(embedder, videos):
            stored = _as_stored(row, extractor=embedder)
            yield StreamRow(stream="motion", row=stored, source=sources[row.video_id])


def _reject_if_still(row: Row) -> Row:
    # Vectors in keyframes alone leave the network nothing to look at.
    if row.reject_reason or has_frames_with_motion(row.values):
        return row
    detail = "no predicted frame has any"
    return replace(row, values={}, reject_reason="no_motion_vectors", reject_detail=detail)


def _as_stored(row: Row, *, extractor: Extractor) -> Row:
    # A shard may keep fewer digits than the extractor computes.
    kinds = {field.name: field.dtype for field in extractor.fields}
    values = {name: np.asarray(value).astype(kinds[name]) for name, value in row.values.items()}
    return replace(row, values=values)


def _batches(videos: Sequence[Video]) -> Iterator[list[Video]]:
    coming = iter(videos)
    sizes = iter(_MOTION_BATCHES)
    while batch := list(islice(coming, next(sizes, _MOTION_BATCHES[-1]))):
        yield batch


def stream_of(rows: Sequence[Row], *, field: str = "embedding") -> Stream:
    """Return one field of some rows as a run reads it from the cache: averaged over the frames of each video."""
    kept = [row for row in rows if not row.reject_reason]
    values = [np.asarray(row.values[field], np.float32) for row in kept]
    offsets: NDArray[np.int64] = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int64)
    together = np.concatenate(values) if values else np.empty((0, 0), np.float32)
    rejected = {row.video_id: row.reject_reason for row in rows if row.reject_reason}
    ids = tuple(row.video_id for row in kept)
    return Stream(
        rows={video_id: place for place, video_id in enumerate(ids)},
        values=pool_frames(together, offsets=offsets) if values else together,
        rejected=rejected,
        table=FeatureTable(video_ids=ids, values=together, offsets=offsets, rejected=rejected),
    )
