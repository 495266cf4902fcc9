"""The appearance extractor: chosen frames of a video through a frozen image encoder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cache.format import Field, Row, Value
from moclip.config.settings import AppearanceVariant
from moclip.core.digests import FileDigests
from moclip.core.prefetch import Embedded, Prepared, embed_videos_in_batches
from moclip.encoders.spec import weights_fingerprint
from moclip.errors import ModelError, VideoError
from moclip.extraction.extractor import (
    Extractor,
    ShardJob,
    Video,
    extract_shard,
    index_shards,
    list_videos,
    reject_row,
    shard_file,
)
from moclip.extraction.frame_choice import MotionRows, build_frame_key, decode_frames, list_motion_rows, rebuild_frames
from moclip.versions import APPEARANCE_VERSION, FRAMES_VERSION
from moclip.video.frames import Frames
from moclip.video.isolation import Isolated, Limits
from moclip.video.motion_vectors import libavcodec_version

if TYPE_CHECKING:
    from moclip.encoders.clip import Encoder

APPEARANCE_FIELDS = (
    Field(name="embedding", kind="packed", dtype="float32"),
    Field(name="frame_index", kind="packed", dtype="int32"),
    Field(name="time_seconds", kind="packed", dtype="float64"),
    Field(name="num_frames", kind="scalar", dtype="int32"),
)


def extract_appearance_shard(
    job: ShardJob, *, manifest: Path, variant: AppearanceVariant, num_threads: int, motion_index: Path | None = None
) -> None:
    """Write one shard of frame embeddings, as `extractor.extract_shard` does.

    `motion_index` is that of the motion which the frames follow, where `frames.policy` is `motion`.
    """
    videos = list_videos(manifest, root=job.root, shard=job.shard)
    motion = None if motion_index is None else list_motion_rows(motion_index, file=shard_file(job.shard))
    digest = FileDigests(job.cache_dir)
    extractor = build_appearance_extractor(
        variant, motion=motion, num_threads=num_threads, limits=job.limits, digest=digest
    )
    extract_shard(extractor, videos=videos, job=job)


def index_appearance(
    variant: AppearanceVariant,
    *,
    manifest: Path,
    root: Path,
    num_shards: int,
    output: Path,
    cache_dir: Path,
    motion_index: Path | None = None,
) -> None:
    """Write the index over the appearance shards next to `output`, as `extractor.index_shards` does."""
    motion = None if motion_index is None else list_motion_rows(motion_index)
    extractor = build_appearance_extractor(variant, motion=motion, digest=FileDigests(cache_dir))
    index_shards(extractor, manifest=manifest, root=root, num_shards=num_shards, output=output)


def build_appearance_extractor(
    variant: AppearanceVariant,
    *,
    motion: MotionRows | None = None,
    num_threads: int = 1,
    limits: Limits | None = None,
    digest: Callable[[Path], str] | None = None,
) -> Extractor:
    """Return the extractor of an appearance variant; `num_threads` processes decode while the encoder computes.

    `digest` gives the digest of a file of weights, for a caller that remembers them.
    """
    # The weights count by their content, and the motion that frames follow by each video's.
    parameters = {
        **variant.canonical(without={"model", "weights", "motion"}),
        "weights": weights_fingerprint(variant, digest=digest),
        "frames_version": FRAMES_VERSION,
        "libraries": [*_libraries(variant.backend), libavcodec_version()],
    }
    key = build_frame_key(variant.frames, motion=motion)
    return Extractor(
        name="appearance",
        version=APPEARANCE_VERSION,
        parameters=parameters,
        fields=APPEARANCE_FIELDS,
        row_key=key,
        extract=_Embedder(variant=variant, motion=motion, key=key, num_threads=num_threads, limits=limits),
        provenance={"state": "untrained" if variant.untrained else "trained"},
    )


@dataclass(frozen=True, kw_only=True)
class _Embedder:
    """The function of the extractor: decodes frames in `num_threads` processes and embeds them in batches."""

    variant: AppearanceVariant
    motion: MotionRows | None
    key: Callable[[Video], str]
    num_threads: int
    limits: Limits | None

    def __call__(self, videos: Sequence[Video]) -> Iterator[Row | None]:
        # Imported here: a shard whose rows are all cached is assembled without the seconds that torch takes.
        from moclip.encoders.clip import load_encoder  # noqa: PLC0415

        frames, batch_size = self.variant.frames, self.variant.batch_size
        with Isolated(decode_frames, limits=self.limits) as decode:
            encoder = load_encoder(self.variant)
            yield None
            finished = embed_videos_in_batches(
                videos,
                prepare=partial(self._prepare, decode=decode, encoder=encoder),
                start=partial(encoder.start_images, batch_size=batch_size),
                batch_size=batch_size,
                num_workers=self.num_threads,
                inputs_per_video=1 if frames.policy == "middle" else frames.count,
                num_in_flight=encoder.tower.num_in_flight,
            )
            for result in finished:
                yield None if result is None else _build_row(result, key=self.key)

    def _prepare(self, video: Video, *, decode: Callable[..., Any], encoder: "Encoder") -> Prepared:
        place = self.motion and self.motion.place_of(video.video_id)
        how = {"policy": self.variant.frames.policy, "count": self.variant.frames.count, "motion": place}
        found = rebuild_frames(decode(video_id=video.video_id, path=str(video.path), **how))
        return Prepared(inputs=encoder.prepare_images(found.images), values=_values(found))


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


def _build_row(result: Embedded[Video], *, key: Callable[[Video], str]) -> Row:
    video, outcome = result.video, result.outcome
    if isinstance(outcome, VideoError):
        return reject_row(key, video, outcome)
    values = {"embedding": result.embeddings, **outcome.values}
    return Row(video_id=video.video_id, row_key=key(video), values=values)
