"""The part that all extractors share: look up rows, compute the missing ones, assemble the shard.

A new stream is one module that builds its `Extractor` (fields, row key, and `extract`, which yields rows) and calls
`extract_shard` and `index_shards`, each from one rule.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from moclip.cache.format import Field, Row, ShardHeader
from moclip.cache.index import write_index
from moclip.cache.pool import pool_folder
from moclip.cache.rates import Meter, note_rate
from moclip.cache.row_cache import Wanted, assemble_shard, shard_signature
from moclip.config.settings import Settings
from moclip.dataset.fingerprints import UnchangedCheck, memo_file
from moclip.dataset.labels import list_subsets
from moclip.dataset.manifest_table import read_table
from moclip.errors import VideoError
from moclip.video.isolation import Limits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video as an extractor sees it: its id, its path, and the fingerprint of its bytes."""

    video_id: str
    path: Path
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A frozen function from videos to rows, and all that its rows depend on.

    `parameters` holds everything but the video that a row is computed from: settings, fingerprints of weights, and the
    versions of the libraries that could change a number. `extract` yields the rows of some videos as they finish, and
    None once it is ready, if that takes time, and where a batch ends. `reads_videos` says whether it opens videos.
    """

    name: str
    version: int
    parameters: Mapping[str, Any]
    fields: Sequence[Field]
    row_key: Callable[[Video], str]
    extract: Callable[[Sequence[Video]], Iterator[Row | None]]
    reads_videos: bool = True
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One shard to build: which one of how many, of which dataset, from where, to where.

    `on_bad_video` is `skip` (the row remembers the reason) or `fail` (the job stops with it). `fingerprint` is the kind
    of the manifest's fingerprints, which videos are compared with once read; "" takes made-up ones as they are.
    """

    dataset: str
    root: Path
    shard: int
    num_shards: int
    output: Path
    cache_dir: Path
    on_bad_video: str = "skip"
    limits: Limits = field(default_factory=Limits)
    fingerprint: Literal["content", "stat", ""] = ""

    @classmethod
    def from_settings(cls, settings: Settings, *, shard: str | int, output: str | Path) -> Self:
        """Return the job that builds one shard of a dataset."""
        dataset = settings.dataset
        return cls(
            dataset=dataset.name,
            root=Path(dataset.root),
            shard=int(shard),
            num_shards=dataset.num_shards,
            output=Path(output),
            cache_dir=Path(settings.cache_dir),
            on_bad_video=dataset.on_bad_video,
            limits=Limits(seconds=dataset.limits.seconds, memory_mb=dataset.limits.memory_mb),
            fingerprint=dataset.fingerprint,
        )

    @property
    def pool_name(self) -> str:
        """Name of the shard among those of the same parameters, which may be of several datasets."""
        return f"{self.dataset}-{self.shard}-of-{self.num_shards}"


def shard_file(shard: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{shard}.h5"


def list_videos(manifest: Path, *, root: Path, shard: int) -> list[Video]:
    """Return the videos of one shard of the manifest, sorted by id."""
    return group_videos(manifest, root=root).get(shard, [])


def group_videos(manifest: Path, *, root: Path) -> dict[int, list[Video]]:
    """Return the videos of every shard that has some, sorted by id; the manifest is read once."""
    grouped: dict[int, list[Video]] = {}
    for shard, video_id, path, fingerprint in read_table(manifest).rows("shard", "video_id", "path", "fingerprint"):
        grouped.setdefault(shard, []).append(Video(video_id=video_id, path=root / path, fingerprint=fingerprint))
    return grouped


def list_wanted(extractor: Extractor, videos: Sequence[Video]) -> list[Wanted]:
    """Return the rows that a shard of these videos must hold."""
    return [Wanted(video_id=video.video_id, row_key=extractor.row_key(video)) for video in videos]


def expected_signature(extractor: Extractor, videos: Sequence[Video]) -> str:
    """Return the signature that a shard of these videos must carry."""
    return shard_signature(
        extractor=extractor.name,
        version=extractor.version,
        parameters=extractor.parameters,
        wanted=list_wanted(extractor, videos),
    )


def extract_shard(extractor: Extractor, *, videos: Sequence[Video], job: ShardJob) -> None:
    """Write the shard of these videos, computing only the rows that the cache lacks.

    Raises:
        VideoError: A video is rejected and `on_bad_video` is `fail`.
        DatasetError: A video is no longer the one that the manifest lists; the rows before it are kept.
    """
    by_id = {video.video_id: video for video in videos}
    pool = pool_folder(
        job.cache_dir, extractor=extractor.name, version=extractor.version, parameters=extractor.parameters
    )
    with assemble_shard(
        job.output,
        pool=pool,
        name=job.pool_name,
        wanted=list_wanted(extractor, videos),
        fields=extractor.fields,
        header=_build_header(extractor, videos),
    ) as shard:
        for missing in shard.claim_missing():
            lacking = [by_id[wanted.video_id] for wanted in missing]
            for row in _extract_checked(extractor, lacking, job=job, rate_key=pool.name):
                if row is None:
                    shard.end_batch()
                else:
                    shard.append(row)
        count = shard.publish(allow_rejects=job.on_bad_video == "skip")
    _log.info("%s: %d rows computed, %d taken from the cache", job.output, count.num_computed, count.num_reused)


def _build_header(extractor: Extractor, videos: Sequence[Video]) -> ShardHeader:
    return ShardHeader(
        extractor=extractor.name,
        extractor_version=extractor.version,
        parameters=extractor.parameters,
        signature=expected_signature(extractor, videos),
        provenance=extractor.provenance,
    )


def _extract_checked(
    extractor: Extractor, videos: Sequence[Video], *, job: ShardJob, rate_key: str
) -> Iterator[Row | None]:
    from tqdm import tqdm  # noqa: PLC0415 (a shard from the cache shows no progress)

    by_id = {video.video_id: video for video in videos}
    check = _unchanged_check(videos, job=job) if extractor.reads_videos and job.fingerprint else None
    title, meter = f"{extractor.name} {job.output.stem}", Meter()
    with tqdm(total=len(videos), desc=title, unit="video", mininterval=2) as progress:
        for row in extractor.extract(videos):
            if row is not None and check is not None:
                # After the video was read: the row is then computed from these bytes, and a disk that was lost for a
                # moment causes no reject, which the cache would keep.
                video = by_id[row.video_id]
                check(video.path, fingerprint=video.fingerprint)
            progress.update(row is not None)
            # Rows that come before anything else is known to be ready have the start-up of the job in their time.
            meter.add(row is not None and meter.is_started)
            meter.start()
            yield row
        meter.stop()
    note_rate(job.cache_dir, stage=extractor.name, key=rate_key, meter=meter)


def _unchanged_check(videos: Sequence[Video], *, job: ShardJob) -> UnchangedCheck:
    memo = memo_file(job.cache_dir, dataset=job.dataset)
    return UnchangedCheck(job.fingerprint, root=job.root, paths={video.path for video in videos}, memo=memo)


def index_shards(extractor: Extractor, *, manifest: Path, root: Path, num_shards: int, output: Path) -> None:
    """Write the index over the shards next to `output`, each checked to hold what the manifest and parameters ask for.

    Raises:
        ShardError: A shard is missing, damaged or stale.
    """
    grouped = group_videos(manifest, root=root)
    signatures = {
        shard_file(shard): expected_signature(extractor, grouped.get(shard, [])) for shard in range(num_shards)
    }
    write_index(output, signatures=signatures, subsets=list_subsets(manifest))


def finished_rows(extractor: Extractor, videos: Sequence[Video]) -> Iterator[Row]:
    """Yield the rows of some videos as they finish."""
    for row in extractor.extract(videos):
        if row is not None:
            yield row


def reject_row(extractor_key: Callable[[Video], str], video: Video, error: VideoError) -> Row:
    """Return the row that remembers why a video has no features."""
    _log.warning("%s", error)
    return Row(
        video_id=video.video_id,
        row_key=extractor_key(video),
        values={},
        reject_reason=error.reason,
        reject_detail=error.detail,
    )
