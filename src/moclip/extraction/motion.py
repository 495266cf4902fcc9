"""The motion extractor: all motion vectors of a video, in one decode."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from moclip.cache.format import Field, Row
from moclip.config.settings import MotionVariant
from moclip.core.cache_folder import claim_folder
from moclip.errors import VideoError
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard, index_shards, list_videos, reject_row
from moclip.motion.vectors import NO_VECTOR
from moclip.versions import MOTION_VERSION
from moclip.video.isolation import Isolated, Limits
from moclip.video.motion_vectors import decode_motion, libavcodec_version

MOTION_FIELDS = (
    Field(name="past", kind="tensor", dtype="int16", mask_value=NO_VECTOR),
    Field(name="future", kind="tensor", dtype="int16", mask_value=NO_VECTOR),
    Field(name="past_frame_index", kind="packed", dtype="int32"),
    Field(name="future_frame_index", kind="packed", dtype="int32"),
    Field(name="picture_type", kind="packed", dtype="uint8"),
    Field(name="is_keyframe", kind="packed", dtype="bool"),
    Field(name="time_seconds", kind="packed", dtype="float64"),
    Field(name="motion_scale", kind="scalar", dtype="int32"),
    Field(name="width_px", kind="scalar", dtype="int32"),
    Field(name="height_px", kind="scalar", dtype="int32"),
    Field(name="rotation_degrees", kind="scalar", dtype="int32"),
    Field(name="is_mirrored", kind="scalar", dtype="bool"),
    Field(name="codec_name", kind="scalar", dtype="text"),
    Field(name="frame_rate", kind="scalar", dtype="float64"),
    Field(name="source", kind="scalar", dtype="text"),
)


def extract_motion_shard(job: ShardJob, *, manifest: Path, variant: MotionVariant) -> None:
    """Write one shard of motion vectors, as `extractor.extract_shard` does."""
    videos = list_videos(manifest, root=job.root, shard=job.shard)
    extractor = build_motion_extractor(variant, spool_folder=claim_folder(job.cache_dir), limits=job.limits)
    extract_shard(extractor, videos=videos, job=job)


def index_motion(variant: MotionVariant, *, manifest: Path, jobs: Sequence[ShardJob], output: Path) -> None:
    """Write the index over motion shards, as `extractor.index_shards` does."""
    rebuild = partial(extract_motion_shard, manifest=manifest, variant=variant)
    index_shards(build_motion_extractor(variant), manifest=manifest, jobs=jobs, output=output, rebuild=rebuild)


def build_motion_extractor(
    variant: MotionVariant, *, spool_folder: Path | None = None, limits: Limits | None = None
) -> Extractor:
    """Return the extractor of a motion variant of the configuration, which decodes in a worker process.

    The vectors of a long video wait in `spool_folder` until they are written.
    """
    # B-frame vectors of MPEG-4 differ between versions of libavcodec, so its version is part of the key.
    parameters = {**variant.canonical(), "libavcodec": libavcodec_version()}

    folder = None if spool_folder is None else str(spool_folder)

    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        with Isolated(decode_motion, limits=limits, spool_folder=spool_folder) as decode:
            for video in videos:
                path, source = str(video.path), variant.source
                try:
                    values = decode(video_id=video.video_id, path=path, source=source, spool_folder=folder)
                except VideoError as error:
                    yield reject_row(_key, video, error)
                else:
                    yield Row(video_id=video.video_id, row_key=_key(video), values=values)

    return Extractor(
        name="motion",
        version=MOTION_VERSION,
        parameters=parameters,
        fields=MOTION_FIELDS,
        row_key=_key,
        extract=extract,
    )


def _key(video: Video) -> str:
    return video.fingerprint
