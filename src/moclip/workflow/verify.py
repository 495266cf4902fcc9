"""Verify every shard against manifest, keys and digests, and remove untrusted rows on request.

- missing: a shard, or the row of a video of the manifest, does not exist
- foreign: a shard, or a row, that the manifest does not ask for
- stale: computed from another version of the video, by another extractor version, or with other parameters
- damaged: the data does not match its digest, or the file cannot be read
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moclip.cache.pool import drop_rows
from moclip.cache.reader import Shard
from moclip.errors import MoclipError, ShardError
from moclip.extraction.extractor import Extractor, Video, expected_signature, list_wanted
from moclip.workflow.feature_sets import FeatureSet, list_feature_sets, list_shard_videos, results_folder

Kind = Literal["missing", "foreign", "stale", "damaged"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with a shard, or with the row of one video in it; `row_key` names a row that is damaged."""

    kind: Kind
    path: Path
    detail: str
    video_id: str = ""
    row_key: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        row = f": video {self.video_id}" if self.video_id else ""
        return f"{self.kind}: {self.path}{row}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was read, and what is wrong."""

    num_shards: int
    num_rows: int
    findings: tuple[Finding, ...]


def verify_features(config: Mapping[str, Any]) -> Verification:
    """Read every shard that the experiments of a checked configuration use, and the rows of the cache behind them.

    Raises:
        DatasetError: There is no manifest yet.
    """
    dataset = config["dataset"]
    manifest = results_folder(config) / "manifest.tsv"
    findings: list[Finding] = []
    counted = _Counted()
    for feature_set in list_feature_sets(config):
        try:
            videos = list_shard_videos(
                feature_set, manifest=manifest, root=Path(dataset["root"]), num_shards=dataset["num_shards"]
            )
        except ShardError as error:
            findings.append(Finding(kind="missing", path=feature_set.folder, detail=f"cannot be checked: {error}"))
            continue
        findings += _check_set(feature_set, videos=videos, cache_dir=Path(config["cache_dir"]), counted=counted)
    return Verification(num_shards=counted.shards, num_rows=counted.rows, findings=tuple(findings))


@dataclass
class _Counted:
    shards: int = 0
    rows: int = 0


def _check_set(
    feature_set: FeatureSet, *, videos: Mapping[str, Sequence[Video]], cache_dir: Path, counted: _Counted
) -> Iterator[Finding]:
    extractor, pool = feature_set.extractor, feature_set.pool(cache_dir)
    if extractor is None or pool is None:
        yield Finding(kind="missing", path=feature_set.folder, detail="its motion network is not trained yet")
        return
    seen: set[tuple[int, int]] = set()
    for name, wanted in videos.items():
        path = feature_set.folder / name
        yield from _check_shard(path, extractor=extractor, videos=wanted, counted=counted)
        seen |= _inode(path)
    for path in sorted(feature_set.folder.glob("shard-*.h5")):
        if path.name not in videos:
            yield Finding(kind="foreign", path=path, detail="the configuration has no shard of this number")
    for path in sorted(pool.glob("*.h5")):
        if not _inode(path) & seen:  # a declared shard is a link to its file of the pool, which has been read
            yield from _check_rows(path, counted=counted)


def _inode(path: Path) -> set[tuple[int, int]]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return set()
    return {(status.st_dev, status.st_ino)}


def _check_shard(path: Path, *, extractor: Extractor, videos: Sequence[Video], counted: _Counted) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding(kind="missing", path=path, detail=f"expected a shard of {len(videos)} videos, found none")
        return
    try:
        with Shard(path) as shard:
            findings = [*_compare_header(shard, extractor=extractor)]
            findings += _compare_keys(shard, extractor=extractor, videos=videos)
            if not findings and shard.signature != expected_signature(extractor, videos):
                findings.append(Finding(kind="stale", path=path, detail="its signature is not that of its rows"))
    except ShardError as error:
        yield Finding(kind="damaged", path=path, detail=str(error).removeprefix(f"{path}: "))
        return
    yield from findings
    yield from _check_rows(path, counted=counted)


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
        if expected == key:
            continue
        if key is None:
            kind, detail = "missing", "the manifest has it, the shard has not"
        elif expected is None:
            kind, detail = "foreign", "the shard has it, the manifest has not in this shard"
        else:
            kind, detail = "stale", f"computed from {key[:12]}, and it is {expected[:12]} now"
        yield Finding(kind=_kind(kind), path=shard.path, video_id=video_id, detail=detail)


def _kind(name: str) -> Kind:
    kinds: dict[str, Kind] = {"missing": "missing", "foreign": "foreign", "stale": "stale"}
    return kinds[name]


def _check_rows(path: Path, *, counted: _Counted) -> Iterator[Finding]:
    try:
        with Shard(path) as shard:
            counted.shards += 1
            for index, video_id in enumerate(shard.video_ids):
                counted.rows += 1
                try:
                    shard.read_row_at(index, load=False)
                except ShardError:
                    yield Finding(
                        kind="damaged",
                        path=path,
                        video_id=video_id,
                        row_key=shard.row_keys[index],
                        detail="its data does not match its digest",
                    )
    except ShardError as error:
        yield Finding(kind="damaged", path=path, detail=str(error).removeprefix(f"{path}: "))


def fix_features(config: Mapping[str, Any], *, findings: Iterable[Finding]) -> list[str]:
    """Remove what the findings name, and return what was done, a line each; the next run of the workflow builds it.

    A declared shard is only a view of rows in the cache, so that removing it costs no row. Of the cache, only the rows
    that are damaged are removed.
    """
    pools = [pool for entry in list_feature_sets(config) if (pool := entry.pool(Path(config["cache_dir"])))]
    cached = {inode: path for pool in pools for path in pool.glob("*.h5") for inode in _inode(path)}
    by_path: dict[Path, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    return [line for path, found in by_path.items() if path.is_file() for line in _fix(path, found, cached=cached)]


def _fix(path: Path, findings: Sequence[Finding], *, cached: Mapping[tuple[int, int], Path]) -> Iterator[str]:
    own = next((cached[inode] for inode in _inode(path) if inode in cached), None)
    keys = {finding.row_key for finding in findings if finding.row_key}
    unreadable = any(finding.kind == "damaged" and not finding.row_key for finding in findings)
    if own is not None and (keys or unreadable):
        kept, removed = drop_rows(own, keys=None if unreadable else keys)
        yield f"{own}: {removed if kept else 'all'} rows removed, {kept} kept"
    if own != path:
        path.unlink()
        yield f"{path}: removed; the next run puts it together again"


def format_verification(verification: Verification) -> str:
    """Return the findings, a line each, and a line that counts them."""
    lines = [str(finding) for finding in verification.findings]
    counts = ", ".join(
        f"{sum(finding.kind == kind for finding in verification.findings)} {kind}"
        for kind in ("missing", "foreign", "stale", "damaged")
    )
    read = f"{verification.num_shards} shards and {verification.num_rows} rows read"
    return "\n".join([*lines, f"{read}: {counts}" if lines else f"{read}: all in order"])


def check_manifest(config: Mapping[str, Any]) -> None:
    """Check that there is a manifest to verify against.

    Raises:
        MoclipError: There is none.
    """
    manifest = results_folder(config) / "manifest.tsv"
    if not manifest.is_file():
        raise MoclipError(f"{manifest}: no manifest to verify against; run the workflow first")
