"""The contents of the cache: sizes, users, and removal of unused pools and artifacts."""

import fcntl
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moclip.cache.artifacts import KINDS, remove_artifact
from moclip.cache.reader import Shard
from moclip.cache.uses import ArtifactUse
from moclip.config.settings import Settings
from moclip.errors import ShardError
from moclip.workflow.feature_sets import list_feature_sets


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One folder of the cache: rows that share an extractor, its version and its parameters.

    `used_by` names the feature sets of these rows. `num_bytes` counts each file once, however many links it has.
    """

    folder: Path
    extractor: str
    parameters: Mapping[str, Any]
    num_rows: int
    num_bytes: int
    used_by: tuple[str, ...]


def list_pools(cache_dir: Path, *, configs: Sequence[Settings]) -> list[Pool]:
    """Return every pool of a cache. Pools that no experiment of the configurations uses come last.

    Raises:
        ModelError: The weights of an image encoder are not there, so that its pool cannot be determined.
    """
    used: dict[Path, list[str]] = {}
    for settings in configs:
        for feature_set in list_feature_sets(settings):
            pool = feature_set.pool(cache_dir)
            if pool is not None:
                used.setdefault(pool, []).append(f"{settings.dataset.name}/{feature_set.name}")
    others = {*KINDS, "uses", "training", "code"}
    folders = [
        folder for folder in sorted(cache_dir.glob("*/*")) if folder.is_dir() and folder.parent.name not in others
    ]
    pools = [_read_pool(folder, used_by=used.get(folder, ())) for folder in folders]
    return sorted(pools, key=lambda pool: (not pool.used_by, pool.folder))


def _read_pool(folder: Path, *, used_by: Sequence[str]) -> Pool:
    num_rows, num_bytes = 0, 0
    extractor, parameters = folder.parent.name, dict[str, Any]()
    for path in sorted(folder.glob("*.h5")):
        num_bytes += path.stat().st_size
        with suppress(ShardError), Shard(path) as shard:  # `moclip verify` names a damaged one; here its bytes count
            num_rows += len(shard.row_keys)
            extractor, parameters = f"{shard.extractor} {shard.extractor_version}", shard.parameters
    return Pool(
        folder=folder,
        extractor=extractor,
        parameters=parameters,
        num_rows=num_rows,
        num_bytes=num_bytes,
        used_by=tuple(sorted(used_by)),
    )


def remove_unused(pools: Sequence[Pool]) -> list[str]:
    """Remove the pools that no experiment uses, and return a line for each; a pool in use by another process stays."""
    lines = []
    for pool in pools:
        if pool.used_by:
            continue
        with ExitStack() as held:
            if _take_locks(pool.folder, held=held):
                shutil.rmtree(pool.folder)
                lines.append(f"removed {pool.folder}: {pool.num_rows} rows, {format_size(pool.num_bytes)}")
            else:
                lines.append(f"kept {pool.folder}: another process writes to it")
    return lines


def remove_unused_artifacts(uses: Sequence[ArtifactUse]) -> list[str]:
    """Remove the artifacts that no experiment uses, and return a line for each."""
    lines = []
    for use in uses:
        if not use.used_by:
            remove_artifact(use.artifact)
            lines.append(f"removed {use.artifact.path}: {format_size(use.artifact.num_bytes)}")
    return lines


def format_artifacts(uses: Sequence[ArtifactUse]) -> str:
    """Return the artifacts as a table, a line for each kind, and one for each that no experiment uses."""
    lines = []
    for kind in dict.fromkeys(use.artifact.kind for use in uses):
        own = [use for use in uses if use.artifact.kind == kind]
        size = format_size(sum(use.artifact.num_bytes for use in own))
        unused = [use for use in own if not use.used_by]
        lines.append(f"{size:>9}  {len(own):>8} {kind}, {len(unused)} of no experiment")
        lines += [f"{format_size(use.artifact.num_bytes):>9}  {use.artifact.path}  no experiment" for use in unused]
    return "\n".join(lines)


def _take_locks(folder: Path, *, held: ExitStack) -> bool:
    for path in folder.glob(".*.lock"):
        file = held.enter_context(path.open("a"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def format_pools(pools: Sequence[Pool]) -> str:
    """Return the pools as a table, a line each, and a line that sums them up."""
    lines = []
    for pool in pools:
        place = ", ".join(pool.used_by) or "no experiment"
        rows = f"{format_size(pool.num_bytes):>9}  {pool.num_rows:>8} rows"
        lines.append(f"{rows}  {pool.extractor:<18}  {pool.folder.name}  {place}")
        if not pool.used_by:
            lines.append(f"{'':>9}  {json.dumps(pool.parameters, sort_keys=True)}")
    unused = sum(pool.num_bytes for pool in pools if not pool.used_by)
    total = sum(pool.num_bytes for pool in pools)
    return "\n".join([*lines, f"{format_size(total)} in {len(pools)} pools, {format_size(unused)} unused"])


def format_size(num_bytes: float) -> str:
    """Return a number of bytes with a unit of 1,000: `12 B`, `3.4 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while num_bytes >= 1000 and power < len(units) - 1:
        num_bytes /= 1000
        power += 1
    return f"{num_bytes:.1f} {units[power]}" if power else f"{num_bytes:.0f} B"
