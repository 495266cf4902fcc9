"""Verify all results and the cache against manifest, keys and digests, and remove untrusted parts on request.

- missing: a result, or the row of a video of the manifest, does not exist
- foreign: a shard, or a row, that the manifest does not ask for
- stale: computed from another version of the video, by another extractor version, or with other parameters
- damaged: the data does not match its digest, or the file cannot be read
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moclip.cache.artifacts import HEADS, find_damage, list_artifacts, remove_artifact
from moclip.cache.pool import drop_rows
from moclip.cache.reader import REMEDY, Shard
from moclip.config.settings import Settings
from moclip.core.digests import digest_file
from moclip.core.records import forget, read_record
from moclip.errors import MoclipError, ModelError, ShardError
from moclip.extraction.extractor import Extractor, Video, expected_signature, list_wanted
from moclip.training.head_files import load_heads
from moclip.workflow.feature_sets import FeatureSet, list_feature_sets, list_shard_videos
from moclip.workflow.paths import Paths
from moclip.workflow.plan import Plan

Kind = Literal["missing", "foreign", "stale", "damaged"]

_KINDS: tuple[Kind, ...] = ("missing", "foreign", "stale", "damaged")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem of a file, or of the row of one video in a shard; `row_key` names a damaged row."""

    kind: Kind
    path: Path
    detail: str
    video_id: str = ""
    row_key: str = ""

    def __str__(self) -> str:
        row = f": video {self.video_id}" if self.video_id else ""
        return f"{self.kind}: {self.path}{row}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The number of shards, rows, other results and artifacts of the cache that were read, and the findings."""

    num_shards: int
    num_rows: int
    num_files: int
    num_artifacts: int
    findings: tuple[Finding, ...]


def verify(settings: Settings) -> Verification:
    """Read all results of the experiments, the rows of the cache behind them, and all artifacts of the cache.

    Raises:
        MoclipError: There is no manifest yet.
    """
    manifest = Path(Paths(dataset=settings.dataset.name).outputs("manifest")["manifest"])
    if not manifest.is_file():
        raise MoclipError(f"{manifest}: no manifest to verify against; run the workflow first")
    verifier = _Verifier(settings)
    findings = [finding for feature_set in list_feature_sets(settings) for finding in verifier.check_set(feature_set)]
    known = {finding.path for finding in findings}
    findings += [finding for finding in verifier.check_results() if finding.path not in known]
    findings += verifier.check_artifacts()
    return Verification(
        num_shards=verifier.num_shards,
        num_rows=verifier.num_rows,
        num_files=verifier.num_files,
        num_artifacts=verifier.num_artifacts,
        findings=tuple(findings),
    )


class _Verifier:
    """The checks of results and of the cache; it counts what it reads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.num_shards = self.num_rows = self.num_files = self.num_artifacts = 0

    def check_results(self) -> Iterator[Finding]:
        """Compare each result with the digest in the record of its job; of shards, each row has a digest."""
        for job in Plan(self._settings).jobs:
            outputs = (read_record(job.files) or {"outputs": {}})["outputs"]
            for path in map(Path, job.files):
                self.num_files += path.suffix != ".h5"
                if not path.is_file():
                    yield Finding(kind="missing", path=path, detail=f"the next run makes it with the rule {job.rule}")
                elif str(path) not in outputs:
                    yield Finding(kind="damaged", path=path, detail="its job left no record of its digest")
                elif path.suffix != ".h5" and digest_file(path) != outputs[str(path)][0]:
                    yield Finding(
                        kind="damaged", path=path, detail=f"edited or damaged since the rule {job.rule} made it"
                    )

    def check_artifacts(self) -> Iterator[Finding]:
        """Compare the networks, heads, class embeddings and scores of the cache with their digests."""
        for artifact in list_artifacts(Path(self._settings.cache_dir)):
            self.num_artifacts += 1
            damage = _find_head_damage(artifact.path) if artifact.kind == HEADS else find_damage(artifact)
            if damage:
                yield Finding(kind="damaged", path=artifact.path, detail=damage)

    def check_set(self, feature_set: FeatureSet) -> Iterator[Finding]:
        extractor, folder = feature_set.extractor, feature_set.folder
        pools = feature_set.pools(Path(self._settings.cache_dir))
        if extractor is None:
            yield Finding(kind="missing", path=folder, detail="its motion network is missing or damaged")
        try:
            videos = list_shard_videos(feature_set, settings=self._settings)
        except MoclipError as error:
            yield Finding(kind="missing", path=folder, detail=f"cannot be compared with the manifest: {error}")
            videos, extractor = {}, None
        seen: set[tuple[int, int]] = set()
        for path in sorted({*(folder / name for name in videos), *folder.glob("shard-*.h5")}):
            wanted = videos.get(path.name)
            if wanted is None and videos:
                yield Finding(kind="foreign", path=path, detail="the configuration has no shard of this number")
            elif path.is_file():
                yield from self._check_file(path, extractor=extractor, videos=wanted or ())
            else:
                detail = f"expected a shard of {len(wanted or ())} videos, found none"
                yield Finding(kind="missing", path=path, detail=detail)
            seen |= _inode(path)
        for path in (path for pool in pools for path in sorted(pool.glob("*.h5"))):
            if not _inode(path) & seen:  # a declared shard is a link to its file of the pool, which has been read
                yield from self._check_file(path)

    def _check_file(
        self, path: Path, *, extractor: Extractor | None = None, videos: Sequence[Video] = ()
    ) -> Iterator[Finding]:
        # With an extractor, the shard must also hold its rows of these videos.
        try:
            with Shard(path) as shard:
                if extractor is not None:
                    yield from _compare(shard, extractor=extractor, videos=videos)
                self.num_shards += 1
                self.num_rows += len(shard.row_keys)
                for index, (video_id, key) in enumerate(zip(shard.video_ids, shard.row_keys, strict=True)):
                    if not _is_whole(shard, index):
                        detail = "its data does not match its digest"
                        yield Finding(kind="damaged", path=path, video_id=video_id, row_key=key, detail=detail)
        except ShardError as error:
            detail = str(error).removeprefix(f"{path}: ").removesuffix(f"; {REMEDY}")
            yield Finding(kind="damaged", path=path, detail=detail)


def _find_head_damage(path: Path) -> str:
    try:
        load_heads(path)
    except ModelError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def _is_whole(shard: Shard, index: int) -> bool:
    with suppress(ShardError):
        shard.read_row_at(index, load=False)
        return True
    return False


def _inode(path: Path) -> set[tuple[int, int]]:
    with suppress(FileNotFoundError):
        status = path.stat()
        return {(status.st_dev, status.st_ino)}
    return set()


def _compare(shard: Shard, *, extractor: Extractor, videos: Sequence[Video]) -> list[Finding]:
    findings = [*_compare_header(shard, extractor=extractor), *_compare_keys(shard, extractor=extractor, videos=videos)]
    if not findings and shard.signature != expected_signature(extractor, videos):
        findings.append(Finding(kind="stale", path=shard.path, detail="its signature is not that of its rows"))
    return findings


def _compare_header(shard: Shard, *, extractor: Extractor) -> Iterator[Finding]:
    if (shard.extractor, shard.extractor_version) != (extractor.name, extractor.version):
        found, expected = f"{shard.extractor} {shard.extractor_version}", f"{extractor.name} {extractor.version}"
        yield Finding(kind="stale", path=shard.path, detail=f"expected the extractor {expected}, found {found}")
    wanted = json.loads(json.dumps(extractor.parameters))
    for key in sorted(wanted.keys() | shard.parameters.keys()):
        if wanted.get(key) != shard.parameters.get(key):
            detail = f"{key}: expected {wanted.get(key)!r}, found {shard.parameters.get(key)!r}"
            yield Finding(kind="stale", path=shard.path, detail=detail)


def _compare_keys(shard: Shard, *, extractor: Extractor, videos: Sequence[Video]) -> Iterator[Finding]:
    wanted = {row.video_id: row.row_key for row in list_wanted(extractor, videos)}
    found = dict(zip(shard.video_ids, shard.row_keys, strict=True))
    for video_id in sorted(wanted.keys() | found.keys()):
        expected, key = wanted.get(video_id), found.get(video_id)
        kind: Kind
        if expected == key:
            continue
        if key is None:
            kind, detail = "missing", "the manifest has it, the shard has not"
        elif expected is None:
            kind, detail = "foreign", "the shard has it, the manifest has not in this shard"
        else:
            kind, detail = "stale", f"computed from {key[:12]}, and it is {expected[:12]} now"
        yield Finding(kind=kind, path=shard.path, video_id=video_id, detail=detail)


def fix(settings: Settings, *, findings: Iterable[Finding]) -> list[str]:
    """Remove the files and rows of the findings, and return a line for each; the next run makes them again.

    A declared shard is only a view of rows in the cache, so that removing it costs no row. Of the cache, only the rows
    and artifacts that are damaged are removed.
    """
    artifacts = {artifact.path for artifact in list_artifacts(Path(settings.cache_dir))}
    pools = [pool for entry in list_feature_sets(settings) for pool in entry.pools(Path(settings.cache_dir))]
    cached = {inode: path for pool in pools for path in pool.glob("*.h5") for inode in _inode(path)}
    by_path: dict[Path, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    lines = []
    for path, found in by_path.items():
        if path in artifacts:
            remove_artifact(path)
            lines.append(f"{path}: removed from the cache")
        elif path.is_file():
            lines += _fix(path, found, cached=cached)
    return lines


def _fix(path: Path, findings: Sequence[Finding], *, cached: Mapping[tuple[int, int], Path]) -> Iterator[str]:
    own = next((cached[inode] for inode in _inode(path) if inode in cached), None)
    keys = {finding.row_key for finding in findings if finding.row_key}
    unreadable = any(finding.kind == "damaged" and not finding.row_key for finding in findings)
    if own is not None and (keys or unreadable):
        kept, removed = drop_rows(own, keys=None if unreadable else keys)
        yield f"{own}: {removed if kept else 'all'} rows removed, {kept} kept"
    if own != path:
        forget(path)
        path.unlink()
        yield f"{path}: removed; the next run makes it again from the cache"


def format_verification(verification: Verification) -> str:
    """Return the findings, a line each, and a line that counts them."""
    lines = [str(finding) for finding in verification.findings]
    counts = ", ".join(f"{sum(finding.kind == kind for finding in verification.findings)} {kind}" for kind in _KINDS)
    shards = f"{verification.num_shards} shards with {verification.num_rows} rows"
    read = f"{shards}, {verification.num_files} other results and {verification.num_artifacts} artifacts read"
    return "\n".join([*lines, f"{read}: {counts}" if lines else f"{read}: all in order"])
