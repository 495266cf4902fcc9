"""A pool: a folder of shard files that share an extractor, its version and its parameters.

The workflow engine manages the declared shards and may delete them; it does not manage the pool. A row is found by its
key in any file of its pool, so that an added video, a lost shard or a new number of shards computes only the new rows.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from moclip.cache.format import Field, Row, ShardHeader
from moclip.cache.locks import writer_lock
from moclip.cache.reader import Shard
from moclip.cache.writer import write_shard
from moclip.core.digests import build_digest
from moclip.core.files import replace_atomically
from moclip.errors import MACHINE_REASONS, ShardError

_log = logging.getLogger(__name__)

_KEPT = ".kept"

_NOTED = ".keys"

# Searches of a pool while other jobs replace its files.
_MAX_SEARCHES = 3


def pool_folder(cache_dir: Path, *, extractor: str, version: int, parameters: Mapping[str, object]) -> Path:
    """Return the folder of rows that share an extractor, its version and its parameters."""
    return cache_dir / extractor / build_digest(extractor, version, dict(parameters))[:16]


class FoundRows:
    """The sound rows found in a pool, by key; a context manager that keeps their files open.

    Another job may replace or remove a file of the pool. An open file stays readable.
    """

    def __init__(self, pool: Path, *, first: Path) -> None:
        """Take the folder, and the file that is searched first."""
        self._pool, self._first = pool, first
        self._opened = ExitStack()
        self._places: dict[str, tuple[Shard, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def read(self, key: str) -> Row:
        """Return a row that was found. Its tensors stay stored."""
        shard, index = self._places[key]
        return shard.read_row_at(index, check=False, load=False)

    def add_part(self, path: Path) -> tuple[str, ...]:
        """Add the rows of a file that this job has just written, and return their keys."""
        shard = self._opened.enter_context(Shard(path))
        self._places |= {key: (shard, index) for index, key in enumerate(shard.row_keys)}
        return shard.row_keys

    def search(self, keys: Collection[str]) -> None:
        """Look for the rows of some keys in all files of the pool."""
        for _ in range(_MAX_SEARCHES):
            wanted = set(keys) - self._places.keys()
            if not wanted or not self._search_once(wanted):
                break

    def _search_once(self, wanted: set[str]) -> bool:
        # Returns True if another job removed a file before it was read.
        vanished = False
        # The shard's own file holds nearly all its rows; the others are opened only while a row is still missing.
        for path in sorted(self._pool.glob("*.h5"), key=lambda path: (path != self._first, path.name)):
            if not wanted:
                break
            if wanted.isdisjoint(read_noted_keys(path) or wanted):
                continue
            try:
                shard = Shard(path)
            except ShardError as error:
                vanished = vanished or not path.exists()
                if path.exists():
                    _log.warning("%s; its rows are computed again", error)
                continue
            sound = find_sound_rows(shard, keys=wanted)
            self._places |= sound
            wanted -= sound.keys()
            # Only files that serve a row are kept open, so that a pool of any size fits the limit on open files.
            self._opened.enter_context(shard) if sound else shard.close()
        return vanished


def find_sound_rows(shard: Shard, *, keys: Collection[str]) -> dict[str, tuple[Shard, int]]:
    """Return the places of the rows of some keys in a shard, without damaged rows and failures of the machine."""
    places: dict[str, tuple[Shard, int]] = {}
    for index, key in enumerate(shard.row_keys):
        if key in keys and key not in places and _is_sound(shard, index):
            places[key] = (shard, index)
    return places


def _is_sound(shard: Shard, index: int) -> bool:
    try:
        row = shard.read_row_at(index, load=False)
    except ShardError as error:
        _log.warning("%s; the row is computed again", error)
        return False
    return row.reject_reason not in MACHINE_REASONS


def keep_other_rows(own: Path, *, wanted: Collection[str], fields: Sequence[Field], header: ShardHeader) -> None:
    """Copy the rows that a shard is about to drop to a file next to it.

    A video that was removed or changed, or that is part of another dataset of the same name, may come back.
    """
    kept = _kept_file(own)
    with ExitStack() as opened:
        rows: dict[str, tuple[Shard, int]] = {}
        for path in (own, kept):
            try:
                shard = opened.enter_context(Shard(path))
            except ShardError:
                continue
            rows |= find_sound_rows(shard, keys=set(shard.row_keys) - set(wanted))
        if any(shard.path == own for shard, _ in rows.values()):
            found = [shard.read_row_at(index, check=False, load=False) for shard, index in rows.values()]
            write_shard(kept, rows=sorted(found, key=lambda row: row.row_key), fields=fields, header=header)


def _kept_file(own: Path) -> Path:
    return own.with_name(f"{own.stem}{_KEPT}.h5")


def note_keys(own: Path, *, keys: Sequence[str]) -> None:
    """Note the keys of a file of a pool next to it, so that a search for a row need not open hundreds of shards."""
    with replace_atomically(own.with_suffix(_NOTED)) as temporary:
        temporary.write_text("\n".join([_version_of(own), *keys]) + "\n", encoding="utf-8")


def read_noted_keys(path: Path) -> set[str] | None:
    """Return the keys of a file of a pool as noted next to it, or None without a note of this version."""
    try:
        version, *keys = path.with_suffix(_NOTED).read_text(encoding="utf-8").split("\n")[:-1]
        return set(keys) if version == _version_of(path) else None
    except (OSError, ValueError):
        return None


def _version_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def list_rows(pool: Path) -> dict[str, str]:
    """Return the digests of all rows of a pool by key, without failures of the machine, which are computed again.

    Damaged files are skipped, and the data of rows is not read.
    """
    rows: dict[str, str] = {}
    for path in pool.glob("*.h5"):
        try:
            with Shard(path) as shard:
                table = zip(shard.row_keys, shard.digests, shard.reject_reasons, strict=True)
                rows |= {key: digest for key, digest, reason in table if reason not in MACHINE_REASONS}
        except ShardError as error:
            _log.warning("%s", error)
    return rows


def drop_rows(own: Path, *, keys: set[str] | None) -> tuple[int, int]:
    """Remove rows from a file of a pool, all of them for None, and return how many were kept and removed."""
    with writer_lock(own.parent, name=own.stem.removesuffix(_KEPT)), ExitStack() as opened:
        if keys is None:
            own.unlink(missing_ok=True)
            return 0, 0
        shard = opened.enter_context(Shard(own))
        kept = [index for index, key in enumerate(shard.row_keys) if key not in keys]
        header = ShardHeader(
            extractor=shard.extractor,
            extractor_version=shard.extractor_version,
            parameters=shard.parameters,
            # The remaining rows are a store, not a shard that may be read as it is: no signature matches.
            signature="",
            provenance=shard.provenance,
        )
        rows = (shard.read_row_at(index, check=False, load=False) for index in kept)
        write_shard(own, rows=rows, fields=shard.fields, header=header)
        return len(kept), len(shard.row_keys) - len(kept)
