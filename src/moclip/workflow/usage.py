"""The contents of the cache: sizes by kind, users, and removal of unused parts."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from moclip.cache.artifacts import HEADS, KINDS, remove_artifact
from moclip.cache.index import read_index
from moclip.cache.locks import try_locks
from moclip.cache.reader import Shard
from moclip.cache.uses import list_artifact_uses
from moclip.config.settings import Settings
from moclip.core.cache_folder import read_folders
from moclip.errors import MoclipError, ShardError
from moclip.workflow.feature_sets import list_feature_sets, list_outputs
from moclip.workflow.plan import Plan

# Folders of a cache in which no part belongs to one experiment: states of stopped training, and small notes.
_SHARED_KINDS = ("training", "fingerprints", "code", "uses")

_SEARCH = "search"


@dataclass(frozen=True, kw_only=True)
class CachePart:
    """One part of a cache: a pool of rows, an artifact, an index of frames to search in, or shared notes.

    Attributes:
        kind: Its kind, which is the name of its folder.
        path: Its folder or file.
        num_bytes: Size of its files. A file with several links counts for the first of them.
        used_by: The feature sets, outputs or purposes that use it.
        detail: Rows, extractor and parameters of a pool.
    """

    kind: str
    path: Path
    num_bytes: int
    used_by: tuple[str, ...]
    detail: str = ""


def list_parts(cache_dir: Path, *, configs: Sequence[Settings]) -> list[CachePart]:
    """Return every part of a cache, by kind. Parts that no experiment of the configurations uses come last.

    Raises:
        ModelError: The weights of an image encoder are not there, so that its pool cannot be determined.
    """
    seen: set[tuple[int, int]] = set()
    outputs = [output for settings in configs for output in list_outputs(settings)]
    parts = [
        *_list_pools(cache_dir, configs=configs, seen=seen),
        *(
            CachePart(
                kind=use.artifact.kind,
                path=use.artifact.path,
                num_bytes=_count_bytes(use.artifact.path, seen=seen),
                used_by=use.used_by,
            )
            for use in list_artifact_uses(cache_dir, outputs=outputs)
        ),
        *_list_searches(cache_dir, configs=configs, seen=seen),
    ]
    for kind in _SHARED_KINDS:
        for path in read_folders(cache_dir, kind):
            parts.append(CachePart(kind=kind, path=path, num_bytes=_count_bytes(path, seen=seen), used_by=("all",)))
    return sorted(parts, key=lambda part: (not part.used_by, part.kind, part.path))


def _list_pools(cache_dir: Path, *, configs: Sequence[Settings], seen: set[tuple[int, int]]) -> Iterator[CachePart]:
    used: dict[Path, set[str]] = {}
    for settings in configs:
        for feature_set in list_feature_sets(settings):
            for pool in feature_set.pools(cache_dir):
                used.setdefault(pool, set()).add(f"{settings.dataset.name}/{feature_set.name}")
    others = {*KINDS, HEADS, _SEARCH, *_SHARED_KINDS}
    for top in read_folders(cache_dir):
        for folder in sorted(top.glob("*/*")):
            if folder.is_dir() and folder.parent.name not in others:
                yield CachePart(
                    kind=folder.parent.name,
                    path=folder,
                    num_bytes=_count_bytes(folder, seen=seen),
                    used_by=tuple(sorted(used.get(folder, ()))),
                    detail=_describe_pool(folder),
                )


def _describe_pool(folder: Path) -> str:
    num_rows, about = 0, ""
    for path in sorted(folder.glob("*.h5")):
        with suppress(ShardError), Shard(path) as shard:  # `moclip verify` names a damaged one
            num_rows += len(shard.row_keys)
            about = f" of {shard.extractor} {shard.extractor_version}, {json.dumps(shard.parameters, sort_keys=True)}"
    return f"{num_rows} rows{about}"


def _list_searches(cache_dir: Path, *, configs: Sequence[Settings], seen: set[tuple[int, int]]) -> Iterator[CachePart]:
    used: dict[str, str] = {}
    for settings in configs:
        for job in Plan(settings).jobs:
            if job.rule == "appearance_index":
                with suppress(MoclipError):  # not built yet
                    used[read_index(Path(job.outputs["index"])).shards_digest] = job.outputs["index"]
    for top in read_folders(cache_dir, _SEARCH):
        for folder in sorted(path for path in top.iterdir() if path.is_dir()):
            users = (used[folder.name],) if folder.name in used else ()
            yield CachePart(kind=_SEARCH, path=folder, num_bytes=_count_bytes(folder, seen=seen), used_by=users)


def _count_bytes(path: Path, *, seen: set[tuple[int, int]]) -> int:
    num_bytes = 0
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        status = file.stat()
        if file.is_file() and (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            num_bytes += status.st_size
    return num_bytes


def remove_unused(parts: Sequence[CachePart]) -> list[str]:
    """Remove the parts that no experiment uses, and return a line for each; a pool in use by another process stays."""
    lines = []
    for part in parts:
        if part.used_by:
            continue
        with ExitStack() as held:
            if part.kind in (*KINDS, HEADS):
                remove_artifact(part.path)
            elif try_locks(part.path.glob(".*.lock"), held=held):
                shutil.rmtree(part.path)
            else:
                lines.append(f"kept {part.path}: another process writes to it")
                continue
        lines.append(f"removed {part.path}: {format_size(part.num_bytes)}")
    return lines


def format_parts(parts: Sequence[CachePart]) -> str:
    """Return the sizes of a cache as a table: a line for each kind, one for each pool or unused part, and the sum."""
    lines = []
    for kind in dict.fromkeys(part.kind for part in parts):
        own = [part for part in parts if part.kind == kind]
        unused = [part for part in own if not part.used_by]
        count = "notes for all experiments" if kind in _SHARED_KINDS else f"{len(own)}, of which {len(unused)} unused"
        lines.append(f"{format_size(_sum(own)):>9}  {kind}: {count}")
        lines += [_format_part(part) for part in own if part.detail or not part.used_by]
    unused = [part for part in parts if not part.used_by]
    return "\n".join([*lines, f"{format_size(_sum(parts)):>9}  in total, {format_size(_sum(unused))} unused"])


def _format_part(part: CachePart) -> str:
    # The parameters tell unused pools apart.
    rows, _, parameters = part.detail.partition(", ")
    users = ", ".join(part.used_by) or f"{parameters}  no experiment"
    return "  ".join(filter(None, [f"{format_size(part.num_bytes):>20}", part.path.name, rows, users.strip()]))


def _sum(parts: Sequence[CachePart]) -> int:
    return sum(part.num_bytes for part in parts)


def format_size(num_bytes: float) -> str:
    """Return a number of bytes with a unit of 1,000: `12 B`, `3.4 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while num_bytes >= 1000 and power < len(units) - 1:
        num_bytes /= 1000
        power += 1
    return f"{num_bytes:.1f} {units[power]}" if power else f"{num_bytes:.0f} B"
