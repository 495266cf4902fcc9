"""The appearance extractor: chosen frames of a video through a frozen image tower; and the class embeddings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.encoder_spec import EncoderSpec, weights_fingerprint
from moclip.errors import VideoError
from moclip.extraction import Extractor, ShardJob, Video, extract_shard, index_shards, list_videos, reject_row
from moclip.sampling import choose_frames
from moclip.shards import Field, Row, Value, build_digest
from moclip.versions import APPEARANCE_VERSION, FRAMES_VERSION
from moclip.video import Frames, libavcodec_version, prepare_worker, read_frames

APPEARANCE_FIELDS = (
    Field(name="embedding", kind="packed", dtype="float32"),
    Field(name="frame_index", kind="packed", dtype="int32"),
    Field(name="time_seconds", kind="packed", dtype="float64"),
    Field(name="num_frames", kind="scalar", dtype="int32"),
)


def extract_appearance_shard(job: ShardJob, *, manifest: Path, variant: Mapping[str, Any], num_threads: int) -> None:
    """Write one shard of frame embeddings, as `extraction.extract_shard` does."""
    videos = list_videos(manifest, root=job.root, shard=job.shard)
    extract_shard(build_appearance_extractor(variant, num_threads=num_threads), videos=videos, job=job)


def index_appearance(variant: Mapping[str, Any], *, manifest: Path, root: Path, num_shards: int, output: Path) -> None:
    """Write the index over the appearance shards beside `output`, as `extraction.index_shards` does."""
    extractor = build_appearance_extractor(variant)
    index_shards(extractor, manifest=manifest, root=root, num_shards=num_shards, output=output)


def build_encoder_spec(variant: Mapping[str, Any]) -> EncoderSpec:
    """Return what an appearance variant of the configuration says of its encoder."""
    return EncoderSpec(
        model=variant["model"],
        weights=variant["weights"] or None,
        untrained=variant["untrained"],
        device=variant["device"],
        precision=variant["precision"],
    )


def build_appearance_extractor(variant: Mapping[str, Any], *, num_threads: int = 1) -> Extractor:
    """Return the extractor of an appearance variant; `num_threads` decode frames while the encoder computes."""
    spec = build_encoder_spec(variant)
    frames = variant["frames"]
    parameters = {
        "model": variant["model"],
        "weights": weights_fingerprint(spec),
        "untrained": variant["untrained"],
        "frames": dict(frames),
        "batch_size": variant["batch_size"],
        "frames_version": FRAMES_VERSION,
        "device": variant["device"],
        "precision": variant["precision"],
        "libraries": [version("open_clip_torch"), version("torch"), version("pillow"), libavcodec_version()],
    }

    def key(video: Video) -> str:
        # A random choice of frames is seeded by the id, so that a renamed video is another row.
        return build_digest(video.fingerprint, video.video_id) if frames["policy"] == "random" else video.fingerprint

    def read(video: Video) -> Frames:
        def choose(num_frames: int) -> Sequence[int]:
            chosen = choose_frames(
                frames["policy"], num_frames=num_frames, num_selected=frames["count"], video_id=video.video_id
            )
            return [int(index) for index in chosen]

        return read_frames(video.path, video_id=video.video_id, choose=choose)

    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        # Imported here: a shard whose rows are all cached is put together without the seconds that torch takes.
        from moclip.appearance import load_encoder  # noqa: PLC0415

        encoder = load_encoder(spec)
        prepare_worker()
        decoded = _read_ahead(videos, read=read, num_threads=num_threads)
        for batch in _batches(decoded, num_images=variant["batch_size"]):
            yield from _embed_batch(
                batch, key=key, encode=partial(encoder.encode_images, batch_size=variant["batch_size"])
            )

    return Extractor(
        name="appearance",
        version=APPEARANCE_VERSION,
        parameters=parameters,
        fields=APPEARANCE_FIELDS,
        row_key=key,
        extract=extract,
        provenance={"state": "untrained" if variant["untrained"] else "trained", "model": variant["model"]},
    )


Outcome = Frames | VideoError


def _embed_batch(
    batch: Sequence[tuple[Video, Outcome]],
    *,
    key: Callable[[Video], str],
    encode: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]],
) -> Iterator[Row]:
    for video, outcome in batch:
        if isinstance(outcome, VideoError):
            yield reject_row(key, video, outcome)
    kept = [(video, outcome) for video, outcome in batch if isinstance(outcome, Frames)]
    images = [image for _, outcome in kept for image in outcome.images]
    embeddings = encode(images) if images else np.empty((0, 0), np.float32)
    start = 0
    for video, outcome in kept:
        stop = start + len(outcome.images)
        values: Mapping[str, Value] = {
            "embedding": embeddings[start:stop],
            "frame_index": outcome.frame_index,
            "time_seconds": outcome.time_seconds,
            "num_frames": outcome.num_frames,
        }
        yield Row(video_id=video.video_id, row_key=key(video), values=values)
        start = stop


def _read_ahead(
    videos: Sequence[Video], *, read: Callable[[Video], Frames], num_threads: int, depth: int = 16
) -> Iterator[tuple[Video, Outcome]]:
    # Frames wait in a bounded queue, so that memory does not grow where decoding is faster than the encoder.
    def attempt(video: Video) -> Outcome:
        try:
            return read(video)
        except VideoError as error:
            return error

    with ThreadPoolExecutor(max_workers=num_threads) as executor:
        waiting: list[tuple[Video, Future[Outcome]]] = []
        coming = iter(videos)
        for video in islice(coming, depth):
            waiting.append((video, executor.submit(attempt, video)))
        while waiting:
            video, future = waiting.pop(0)
            outcome = future.result()
            for following in islice(coming, 1):
                waiting.append((following, executor.submit(attempt, following)))
            yield video, outcome


def _batches(decoded: Iterator[tuple[Video, Outcome]], *, num_images: int) -> Iterator[list[tuple[Video, Outcome]]]:
    batch: list[tuple[Video, Outcome]] = []
    waiting = 0
    for video, outcome in decoded:
        batch.append((video, outcome))
        waiting += len(outcome.images) if isinstance(outcome, Frames) else 0
        if waiting >= num_images:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch
