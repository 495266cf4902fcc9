"""The motion embedding extractor: cached motion vectors through a frozen motion network."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cache.format import Field, Row
from moclip.cache.index import open_indexed, read_index, write_index
from moclip.cache.reader import Shard
from moclip.config.experiments import group_motion_shards
from moclip.config.network_settings import MotionNetworkVariant, NetworkEmbedding
from moclip.core.digests import build_digest
from moclip.dataset.labels import list_subsets
from moclip.encoders.network_notes import read_network_digest, read_network_train
from moclip.errors import ModelError
from moclip.extraction.extractor import Extractor, ShardJob, Video, expected_signature, extract_shard, shard_file
from moclip.motion.vectors import motion_from_row
from moclip.versions import MOTION_EMBEDDING_VERSION

if TYPE_CHECKING:
    from moclip.encoders.motion_embedding import MotionItem


_SETTINGS = {"field", "input_px", "max_px", "rescale_vectors", "threads", "device"}

# The name of the section `embedding` in the keys of rows, which users have in their caches.
_KEY_OF_EMBEDDING = "test"

_VIEW_SETTINGS = {"scales", "flip"}


def extract_motion_embedding_shard(
    job: ShardJob, *, variant: MotionNetworkVariant, motion_index: Path, model: Path
) -> None:
    """Write the motion embeddings and logits of the videos in the motion shards behind one shard."""
    extractor = build_motion_embedding_extractor(variant, model=model)
    shards = group_motion_shards(job.num_shards)[job.shard]
    extract_shard(extractor, videos=list_motion(motion_index, shards=shards), job=job)


def index_motion_embedding(
    variant: MotionNetworkVariant, *, manifest: Path, motion_index: Path, model: Path, num_shards: int, output: Path
) -> None:
    """Write the index over the motion embedding shards next to `output`, each checked against its motion shards."""
    extractor = build_motion_embedding_extractor(variant, model=model)
    signatures = {
        shard_file(number): expected_signature(extractor, list_motion(motion_index, shards=shards))
        for number, shards in enumerate(group_motion_shards(num_shards))
    }
    write_index(output, signatures=signatures, subsets=list_subsets(manifest))


def list_motion(motion_index: Path, *, shards: Sequence[int]) -> list[Video]:
    """Return the videos of some motion shards, each with the digest of its motion as its fingerprint."""
    index = read_index(motion_index)
    entries = {entry.file: entry for entry in index.shards}
    videos: list[Video] = []
    for shard in shards:
        with open_indexed(index, entries[shard_file(shard)]) as opened:
            table = zip(opened.video_ids, opened.digests, strict=True)
            videos += [Video(video_id=name, path=opened.path, fingerprint=digest) for name, digest in table]
    return videos


def embedding_settings(variant: MotionNetworkVariant) -> dict[str, Any]:
    """Return the settings of a motion network variant that its embeddings depend on, besides the trained weights."""
    settings = {_KEY_OF_EMBEDDING: variant.embedding.canonical(), **variant.canonical(only=_SETTINGS)}
    if variant.embedding.views.count:
        settings["train"] = variant.train.canonical(only=_VIEW_SETTINGS)
    return settings


def build_motion_embedding_extractor(variant: MotionNetworkVariant, *, model: Path) -> Extractor:
    """Return the extractor of a motion network variant with the trained weights at `model`.

    Raises:
        ModelError: The weights are no trained network, or the backend is not installed.
    """
    has_views = bool(variant.embedding.views.count)
    augmented = read_network_train(model) if has_views else frozenset()
    parameters = {
        "network": read_network_digest(model),
        **embedding_settings(variant),
        "libraries": _libraries(variant.embedding.backend),
    }

    def key_of(video: Video) -> str:
        # Two videos of equal bytes may be in different subsets of a split.
        return build_digest(video.fingerprint, "views") if video.video_id in augmented else video.fingerprint

    def extract(videos: Sequence[Video]) -> Iterator[Row | None]:
        # Imported here: a shard whose rows are all cached is put together without the seconds that torch takes.
        from moclip.encoders.motion_embedding import embed_videos  # noqa: PLC0415
        from moclip.encoders.motion_network import load_network  # noqa: PLC0415
        from moclip.encoders.runtime import prepare_torch  # noqa: PLC0415

        rejects: list[Row] = []
        prepare_torch(threads=variant.threads)
        keys = {video.video_id: key_of(video) for video in videos}
        items = _read_motions(videos, keys=keys, rejects=rejects)
        network = load_network(model)
        yield None
        for embedded in embed_videos(network, items, variant=variant, augmented=augmented):
            values = {"embedding": embedded.embedding[None], "logits": embedded.logits[None]}
            if has_views:
                values["views"] = embedded.views
            yield Row(video_id=embedded.video_id, row_key=keys[embedded.video_id], values=values)
        yield from rejects

    return Extractor(
        name="motion_embedding",
        version=MOTION_EMBEDDING_VERSION,
        parameters=parameters,
        fields=_list_fields(variant.embedding),
        row_key=key_of,
        extract=extract,
        reads_videos=False,
        provenance={"state": "trained from random weights" if variant.weights == "none" else "trained"},
    )


def _list_fields(embedding: NetworkEmbedding) -> tuple[Field, ...]:
    fields = [
        Field(name="embedding", kind="packed", dtype=embedding.store),
        Field(name="logits", kind="packed", dtype="float32"),
    ]
    if embedding.views.count:
        fields.append(Field(name="views", kind="packed", dtype=embedding.store))
    return tuple(fields)


def _libraries(backend: str) -> list[str]:
    names = ["torch", "timm", *(["openvino"] if backend == "openvino" else [])]
    try:
        return [version(name) for name in names]
    except PackageNotFoundError:
        raise ModelError(
            "motion_network.embedding.backend: `openvino` is not installed; run: make openvino, or set `backend: torch`"
        ) from None


def _read_motions(videos: Sequence[Video], *, keys: Mapping[str, str], rejects: list[Row]) -> "Iterator[MotionItem]":
    from moclip.encoders.motion_embedding import MotionItem  # noqa: PLC0415

    for video, row in _read_rows(videos):
        key = keys[video.video_id]
        if row.reject_reason:
            rejects.append(
                Row(
                    video_id=video.video_id,
                    row_key=key,
                    values={},
                    reject_reason=row.reject_reason,
                    reject_detail=row.reject_detail,
                )
            )
        else:
            yield MotionItem(video_id=video.video_id, key=video.fingerprint, motion=motion_from_row(row.values))


def _read_rows(videos: Sequence[Video]) -> Iterator[tuple[Video, Row]]:
    # One shard is open at a time; the videos are listed by shard.
    for path, group in groupby(videos, key=lambda video: video.path):
        with Shard(path) as shard:
            for video in group:
                yield video, shard.read_row(video.video_id)
