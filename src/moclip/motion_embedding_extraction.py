"""The motion embedding extractor: cached motion vectors through a frozen motion network. No video is opened."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moclip.extraction import Extractor, ShardJob, Video, expected_signature, extract_shard, shard_file
from moclip.features import open_indexed, read_index, write_index
from moclip.motion import MotionVectors, motion_from_row
from moclip.shards import Field, Row, Shard
from moclip.versions import MOTION_EMBEDDING_VERSION

MOTION_EMBEDDING_FIELDS = (
    Field(name="embedding", kind="packed", dtype="float32"),
    Field(name="logits", kind="packed", dtype="float32"),
)


def extract_motion_embedding_shard(
    job: ShardJob, *, variant: Mapping[str, Any], motion_index: Path, model: Path
) -> None:
    """Write the motion embeddings and logits of the videos in one motion shard."""
    extractor = build_motion_embedding_extractor(variant, model=model)
    extract_shard(extractor, videos=_list_motion(motion_index, shard=job.shard), job=job)


def index_motion_embedding(
    variant: Mapping[str, Any], *, motion_index: Path, model: Path, num_shards: int, output: Path
) -> None:
    """Write the index over the motion embedding shards beside `output`, each checked against its motion shard."""
    extractor = build_motion_embedding_extractor(variant, model=model)
    signatures = {
        shard_file(shard): expected_signature(extractor, _list_motion(motion_index, shard=shard))
        for shard in range(num_shards)
    }
    write_index(output, signatures=signatures)


def _list_motion(motion_index: Path, *, shard: int) -> list[Video]:
    # The fingerprint of a video is here the digest of its motion: the same vectors give the same embedding.
    index = read_index(motion_index)
    indexed = next(entry for entry in index.shards if entry.file == shard_file(shard))
    with open_indexed(index, indexed) as opened:
        table = zip(opened.video_ids, opened.digests, strict=True)
        return [Video(video_id=video_id, path=opened.path, fingerprint=digest) for video_id, digest in table]


def build_motion_embedding_extractor(variant: Mapping[str, Any], *, model: Path) -> Extractor:
    """Return the extractor of a motion network variant with the trained weights at `model`."""
    parameters = {
        "network": blake2b(model.read_bytes(), digest_size=16).hexdigest(),
        **{key: variant[key] for key in ("field", "input_px", "max_px", "test", "threads", "device")},
        "libraries": [version("torch"), version("timm")],
    }

    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        # Imported here: a shard whose rows are all cached is put together without the seconds that torch takes.
        from moclip.motion_network import load_network  # noqa: PLC0415
        from moclip.motion_training import embed_videos, prepare_torch  # noqa: PLC0415

        rejects: list[Row] = []
        with Shard(videos[0].path) as shard:
            prepare_torch(threads=variant["threads"])
            keys = {video.video_id: video.fingerprint for video in videos}
            motions = _read_motions(shard, videos, rejects)
            for video_id, embedding, logits in embed_videos(load_network(model).network, motions, variant=variant):
                values = {"embedding": embedding[None], "logits": logits[None]}
                yield Row(video_id=video_id, row_key=keys[video_id], values=values)
        yield from rejects

    return Extractor(
        name="motion_embedding",
        version=MOTION_EMBEDDING_VERSION,
        parameters=parameters,
        fields=MOTION_EMBEDDING_FIELDS,
        row_key=lambda video: video.fingerprint,
        extract=extract,
        provenance={"state": "trained from random weights" if variant["weights"] == "none" else "trained"},
    )


def _read_motions(shard: Shard, videos: Sequence[Video], rejects: list[Row]) -> Iterator[tuple[str, MotionVectors]]:
    for video in videos:
        row = shard.read_row(video.video_id)
        if row.reject_reason:
            rejects.append(
                Row(
                    video_id=video.video_id,
                    row_key=video.fingerprint,
                    values={},
                    reject_reason=row.reject_reason,
                    reject_detail=row.reject_detail,
                )
            )
        else:
            yield video.video_id, motion_from_row(row.values)
