"""The index of a feature set: digests of its shards, of all rows, and of the rows of each subset.

The digest of all rows does not depend on how rows are distributed over shards. Later stages depend on it, so rebuilding
shards with the same rows, even with another number of shards, reruns nothing below. One digest is stored per split and
subset, so that adding a test video does not retrain anything.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.cache.reader import Shard
from moclip.core.digests import build_digest
from moclip.core.files import write_json
from moclip.errors import ShardError

INDEX_NAME = "index.json"

_INDEX_FORMAT = 3

_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.h5")


@dataclass(frozen=True, kw_only=True)
class IndexedShard:
    """One shard as the index knows it."""

    file: str
    content: str
    num_videos: int
    num_rejected: int


@dataclass(frozen=True, kw_only=True)
class FeatureIndex:
    """Which shards make up the features of a data set, and what the extractor says of itself.

    `content` is a digest over all rows, sorted by video: the same for any number of shards. `subsets` has one over
    those of each subset of each split, such as `split_1/train`.
    """

    folder: Path
    extractor: str
    provenance: Mapping[str, Any]
    content: str
    subsets: Mapping[str, str]
    shards: tuple[IndexedShard, ...]

    def content_of(self, *, split: int, subsets: Sequence[str]) -> str:
        """Return a digest over the rows of some subsets of a split: what a stage depends on that reads these alone.

        Raises:
            ShardError: The index knows no such split.
        """
        try:
            return build_digest([(name, self.subsets[f"split_{split}/{name}"]) for name in subsets])
        except KeyError:
            place = self.folder / INDEX_NAME
            raise ShardError(f"{place}: expected split {split}, found {sorted(self.subsets)}; run again") from None

    @cached_property
    def shard_contents(self) -> Mapping[str, str]:
        """The digest of each shard's content, by the name of its file."""
        return {shard.file: shard.content for shard in self.shards}


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """The packed field of every video that has features, in the order of the shards.

    `values` is (sum of rows, D); the rows of video i are `values[offsets[i]:offsets[i + 1]]`.
    `rejected` gives the reason for each video without features.
    """

    video_ids: tuple[str, ...]
    values: NDArray[np.float32]
    offsets: NDArray[np.int64]
    rejected: Mapping[str, str]


def write_index(
    path: Path, *, signatures: Mapping[str, str], subsets: Mapping[str, Collection[str]] | None = None
) -> None:
    """Check every shard next to `path` against its expected signature and write the index over them.

    `signatures` maps a shard's file name to the signature it must carry; `subsets` gives the ids of the videos of each
    subset of each split, as `dataset.labels.list_subsets` does.

    Raises:
        ShardError: A shard is missing, damaged, or was built for other keys.
    """
    shards = []
    about: list[tuple[str, Mapping[str, Any]]] = []
    for name, signature in sorted(signatures.items()):
        with Shard(path.parent / name) as shard:
            _check_signature(shard, signature)
            num_rejected = sum(map(bool, shard.reject_reasons))
            rows = tuple(zip(shard.video_ids, shard.digests, strict=True))
            shards.append(ShardRows(file=name, rows=rows, num_rejected=num_rejected))
            about.append((shard.extractor, shard.provenance))
    store_index(path, shards=shards, extractor=about[0][0], provenance=about[0][1], subsets=subsets or {})


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """The rows of one shard: its file, (video_id, digest) of each row sorted by id, and how many are rejected."""

    file: str
    rows: tuple[tuple[str, str], ...]
    num_rejected: int = 0

    @property
    def content(self) -> str:
        """Digest of its rows, as the shard has it."""
        return build_digest([name for name, _ in self.rows], [digest for _, digest in self.rows])


def store_index(
    path: Path,
    *,
    shards: Sequence[ShardRows],
    extractor: str,
    provenance: Mapping[str, Any],
    subsets: Mapping[str, Collection[str]],
) -> None:
    """Write the index over the rows of some shards, which are not opened."""
    digests = sorted(row for shard in shards for row in shard.rows)
    about = (extractor, provenance)
    entries = [
        IndexedShard(
            file=shard.file, content=shard.content, num_videos=len(shard.rows), num_rejected=shard.num_rejected
        )
        for shard in shards
    ]
    document = {
        "format": _INDEX_FORMAT,
        "extractor": extractor,
        "provenance": provenance,
        "content": build_digest(*about, digests),
        "subsets": {
            name: build_digest(*about, [row for row in digests if row[0] in ids]) for name, ids in subsets.items()
        },
        "shards": [asdict(entry) for entry in entries],
    }
    write_json(path, document)


def _check_signature(shard: Shard, signature: str) -> None:
    if shard.signature != signature:
        raise ShardError(
            f"{shard.path}: stale: expected the signature {signature[:12]}, found {shard.signature[:12]}; "
            "its videos or parameters have changed since it was built; delete the file and run again"
        )


def read_index(path: Path) -> FeatureIndex:
    """Return the index written by `write_index`.

    Raises:
        ShardError: The file is missing, no index, or of another format.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _INDEX_FORMAT:
            raise ShardError(f"{path}: expected index format {_INDEX_FORMAT}, found {document['format']}; delete it")
        shards = tuple(IndexedShard(**shard) for shard in document["shards"])
        for shard in shards:
            if not _SHARD_NAME.fullmatch(shard.file) or not isinstance(shard.content, str):
                raise ValueError(f"expected the name of a shard next to it, found {shard.file!a}")
        if not all(isinstance(document[name], str) for name in ("content", "extractor")):
            raise TypeError("expected text for its content and extractor")
        return FeatureIndex(
            folder=path.parent,
            extractor=document["extractor"],
            provenance=document["provenance"],
            content=document["content"],
            subsets=document["subsets"],
            shards=shards,
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ShardError(f"{path}: expected an index of shards ({error}); delete it and run again") from None


def open_indexed(index: FeatureIndex, shard: IndexedShard) -> Shard:
    """Return a shard, open, after checking that its content is what the index says.

    Raises:
        ShardError: The shard changed since the index was written.
    """
    opened = Shard(index.folder / shard.file)
    if opened.content != shard.content:
        opened.close()
        raise ShardError(
            f"{opened.path}: stale: expected content {shard.content[:12]}, found {opened.content[:12]}; run again"
        )
    return opened


def load_table(path: Path, *, field: str) -> FeatureTable:
    """Return one packed field of all videos behind the index at `path`; every row is checked against its digest."""
    index = read_index(path)
    ids: list[str] = []
    rejected: dict[str, str] = {}
    values: list[NDArray[np.float32]] = []
    for indexed in index.shards:
        with open_indexed(index, indexed) as shard:
            for position, video_id in enumerate(shard.video_ids):
                row = shard.read_row_at(position)
                if row.reject_reason:
                    rejected[video_id] = row.reject_reason
                else:
                    ids.append(video_id)
                    values.append(np.asarray(row.values[field], dtype=np.float32))
    if not values:
        raise ShardError(f"{path}: expected features, found none: every video was rejected; see rejects.tsv")
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int64)
    return FeatureTable(video_ids=tuple(ids), values=np.concatenate(values), offsets=offsets, rejected=rejected)


def list_rejects(path: Path) -> list[tuple[str, str, str]]:
    """Return (video_id, reason, detail) of every rejected video behind the index at `path`, sorted by id."""
    index = read_index(path)
    rejects: list[tuple[str, str, str]] = []
    for indexed in index.shards:
        with open_indexed(index, indexed) as shard:
            table = zip(shard.video_ids, shard.reject_reasons, shard.reject_details, strict=True)
            rejects.extend(entry for entry in table if entry[1])
    return sorted(rejects)


def index_fingerprint(path: Path, *, split: int, subsets: Sequence[str]) -> str:
    """Return 32 hex digits over the rows of some subsets behind an index: what a model notes of what it read."""
    return read_index(path).content_of(split=split, subsets=subsets)


def locate_videos(path: Path, *, video_ids: Sequence[str]) -> dict[str, Path]:
    """Return the shard of each video that has features; videos without are left out."""
    index = read_index(path)
    places: dict[str, Path] = {}
    for indexed in index.shards:
        with open_indexed(index, indexed) as shard:
            table = zip(shard.video_ids, shard.reject_reasons, strict=True)
            places |= {video_id: shard.path for video_id, reason in table if not reason}
    return {video_id: places[video_id] for video_id in video_ids if video_id in places}
