"""The appearance extractor: chosen frames of a video through a frozen image tower; and the class embeddings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from moclip.encoder_spec import EncoderSpec, weights_fingerprint
from moclip.errors import ModelError, VideoError
from moclip.extraction import Extractor, ShardJob, Video, extract_shard, index_shards, list_videos, reject_row
from moclip.frames import Frames, read_frames
from moclip.overlap import Prepared, embed_videos_in_batches
from moclip.sampling import choose_frames
from moclip.shards import Field, Row, Value, build_digest
from moclip.versions import APPEARANCE_VERSION, FRAMES_VERSION
from moclip.video import libavcodec_version, prepare_worker

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
        backend=variant["backend"],
        threads=variant["threads"],
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
        "backend": variant["backend"],
        "threads": variant["threads"],
        "libraries": [*_libraries(variant["backend"]), libavcodec_version()],
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

        def prepare(video: Video) -> Prepared:
            found = read(video)
            return Prepared(inputs=encoder.prepare_images(found.images), values=_values(found))

        finished = embed_videos_in_batches(
            videos,
            prepare=prepare,
            start=partial(encoder.start_images, batch_size=variant["batch_size"]),
            batch_size=variant["batch_size"],
            num_workers=num_threads,
            inputs_per_video=1 if frames["policy"] == "middle" else frames["count"],
            num_in_flight=encoder.tower.num_in_flight,
        )
        for video, *outcome in finished:
            yield _build_row(video, outcome, key=key)

    return Extractor(
        name="appearance",
        version=APPEARANCE_VERSION,
        parameters=parameters,
        fields=APPEARANCE_FIELDS,
        row_key=key,
        extract=extract,
        provenance={"state": "untrained" if variant["untrained"] else "trained", "model": variant["model"]},
    )


def _libraries(backend: str) -> list[str]:
    names = ("open_clip_torch", "torch", "pillow", *(["openvino"] if backend == "openvino" else []))
    try:
        return [version(name) for name in names]
    except PackageNotFoundError as error:
        raise ModelError(f"`backend: {backend}`, and {error.name} is not installed; run `make openvino`") from None


def _values(frames: Frames) -> Mapping[str, Value]:
    return {
        "frame_index": frames.frame_index,
        "time_seconds": frames.time_seconds,
        "num_frames": frames.num_frames,
    }


def _build_row(video: Video, outcome: Sequence[Any], *, key: Callable[[Video], str]) -> Row:
    if isinstance(outcome[0], VideoError):
        return reject_row(key, video, outcome[0])
    prepared, embeddings = outcome
    values = {"embedding": embeddings, **prepared.values}
    return Row(video_id=video.video_id, row_key=key(video), values=values)
