"""The row cache: all rows ever computed for one set of parameters, and the shards assembled from them.

A pool is a folder of shard files that share an extractor, its version and its parameters. The workflow engine manages
the declared shards and may delete them; it does not manage the pool. A row is found by its key in any file of its pool,
so that an added video, a lost shard or a new number of shards computes only the new rows.
"""

import errno
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from moclip.cache.format import Field, Row, ShardHeader
from moclip.cache.locks import KeyLocks, writer_lock
from moclip.cache.reader import Shard
from moclip.cache.writer import ShardWriter, open_writer, write_shard
from moclip.core.digests import build_digest
from moclip.core.files import replace_atomically
from moclip.errors import MACHINE_REASONS, ShardError, VideoError

_log = logging.getLogger(__name__)

Place = tuple[Shard, int]

# A killed job loses at most this much computing.
FLUSH_SECONDS = 10.0

FLUSH_ROWS = 64

# Where an extractor computes in batches and says where one ends: that one, or what takes less than this.
FLUSH_BATCH_SECONDS = 0.5

_KEPT = ".kept"

_NOTED = ".keys"

# Times that a pool is searched while other jobs replace its files.
_LOOKS = 3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A row that a shard must hold: the video, and the key of what its features are computed from."""

    video_id: str
    row_key: str


@dataclass(frozen=True, kw_only=True)
class ShardCount:
    """How a shard came about: rows taken from the pool, and rows computed."""

    num_reused: int
    num_computed: int


def pool_folder(cache_dir: Path, *, extractor: str, version: int, parameters: Mapping[str, object]) -> Path:
    """Return the folder of rows that share an extractor, its version and its parameters."""
    return cache_dir / extractor / build_digest(extractor, version, dict(parameters))[:16]


def shard_signature(*, extractor: str, version: int, parameters: Mapping[str, object], wanted: Sequence[Wanted]) -> str:
    """Return 32 hex digits that name what a shard must hold: extractor, version, parameters, ids and row keys."""
    return build_digest(extractor, version, dict(parameters), sorted((w.video_id, w.row_key) for w in wanted))


def build_shard(
    output: Path,
    *,
    pool: Path,
    name: str,
    wanted: Sequence[Wanted],
    fields: Sequence[Field],
    header: ShardHeader,
    extract: Callable[[Sequence[Wanted]], Iterable[Row | None]],
    allow_rejects: bool = True,
) -> ShardCount:
    """Write the shard `output` and return how many rows were reused and computed.

    Rows are written to the pool as they come, so that a job that is killed leaves what it has computed. `extract` gets
    the wanted rows that the pool lacks and yields one row for each, in any order, and None where a batch ends that is
    better written before the next begins. The shard's rows are sorted by id. A row is computed once, also where several
    videos have its key, or several jobs want it at the same time.

    Raises:
        ShardError: `extract` left out a wanted row.
        VideoError: A video is rejected and `allow_rejects` is false; every computed row stays in the pool.
    """
    pool.mkdir(parents=True, exist_ok=True)
    # Files of the pool stay open until the shard is written: another job may replace or remove them meanwhile.
    with writer_lock(pool, name=name), ExitStack() as opened:
        own = pool / f"{name}.h5"
        places = _find_sound_rows(pool, first=own, keys={w.row_key for w in wanted}, opened=opened)
        # Videos of equal bytes have one key: the row of the first serves all of them.
        missing = {w.row_key: w for w in reversed(wanted) if w.row_key not in places}
        computer = _Computer(extract=extract, pool=pool, name=name, fields=fields, header=header, opened=opened)
        places |= computer.fill(missing, first=own)
        _check_complete(wanted, places)
        _keep_others(own, wanted={w.row_key for w in wanted}, fields=fields, header=header)
        write_shard(own, rows=_read_rows(wanted, places, allow_rejects=allow_rejects), fields=fields, header=header)
        note_keys(own, keys=[w.row_key for w in wanted])
        _link(own, output)
        for part in pool.glob(f"{name}.part-*.h5"):
            part.unlink()
    return ShardCount(num_reused=len(wanted) - computer.num_computed, num_computed=computer.num_computed)


def _find_sound_rows(pool: Path, *, first: Path, keys: Collection[str], opened: ExitStack) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for _ in range(_LOOKS):
        wanted = set(keys) - places.keys()
        found, vanished = _look_for_rows(pool, first=first, keys=wanted, opened=opened)
        places |= found
        if not vanished or len(places) == len(keys):
            break
    return places


def _look_for_rows(pool: Path, *, first: Path, keys: set[str], opened: ExitStack) -> tuple[dict[str, Place], bool]:
    """Return the sound rows of some keys, and True if another job removed a file that had none of them read yet."""
    # The shard's own file holds nearly all its rows; the others are opened only while a row is still missing.
    places: dict[str, Place] = {}
    vanished = False
    for path in sorted(pool.glob("*.h5"), key=lambda path: (path != first, path.name)):
        if len(places) == len(keys):
            break
        if keys.isdisjoint(read_noted_keys(path) or keys):
            continue
        try:
            shard = Shard(path)
        except ShardError as error:
            vanished = vanished or not path.exists()
            if path.exists():
                _log.warning("%s; its rows are computed again", error)
            continue
        wanted = [i for i, key in enumerate(shard.row_keys) if key in keys and key not in places]
        sound = {shard.row_keys[index]: (shard, index) for index in wanted if _is_sound(shard, index)}
        places |= sound
        # Only files that serve a row are kept open, so that a pool of any size fits the limit on open files.
        opened.enter_context(shard) if sound else shard.close()
    return places, vanished


def _is_sound(shard: Shard, index: int) -> bool:
    try:
        row = shard.read_row_at(index, load_bytes=False)
    except ShardError as error:
        _log.warning("%s; the row is computed again", error)
        return False
    return row.reject_reason not in MACHINE_REASONS


def _read_rows(wanted: Sequence[Wanted], places: Mapping[str, Place], *, allow_rejects: bool) -> Iterator[Row]:
    for row in sorted(wanted, key=lambda row: row.video_id):
        shard, index = places[row.row_key]
        # The pool's row may have been computed for another video of the same bytes: the key is what counts.
        found = replace(shard.read_row_at(index, check=False, load_bytes=False), video_id=row.video_id)
        if found.reject_reason and not allow_rejects:
            raise VideoError(reason=found.reject_reason, detail=found.reject_detail, video_id=found.video_id)
        yield found


@dataclass(kw_only=True)
class _Computer:
    """The rows that a pool lacks, each computed by one job at a time and written to part files as they come."""

    extract: Callable[[Sequence[Wanted]], Iterable[Row | None]]
    pool: Path
    name: str
    fields: Sequence[Field]
    header: ShardHeader
    opened: ExitStack
    num_computed: int = 0

    def fill(self, missing: Mapping[str, Wanted], *, first: Path) -> dict[str, Place]:
        """Return the places of the missing rows, by key: computed here, or by another job meanwhile.

        All keys that are free are computed at once, and each is released with the part file that holds its row. Keys of
        another job are then waited for one by one, while none is held.
        """
        places: dict[str, Place] = {}
        if not missing:
            return places
        with KeyLocks(self.pool) as locks:
            free = locks.take_free(missing.keys())
            for keys in [free, *({key} for key in sorted(missing.keys() - free))]:
                if keys is not free:
                    locks.wait_for(min(keys))
                # Another job may have written some of them since the first look.
                found = _find_sound_rows(self.pool, first=first, keys=keys, opened=self.opened)
                locks.release(found.keys())
                lacking = [wanted for key, wanted in missing.items() if key in keys and key not in found]
                places |= found | self._compute(sorted(lacking, key=lambda w: w.video_id), locks=locks)
                locks.release(keys)
        return places

    def _compute(self, lacking: Sequence[Wanted], *, locks: KeyLocks) -> dict[str, Place]:
        places: dict[str, Place] = {}
        self.num_computed += len(lacking)
        for wanted in lacking:
            _log.info("to compute: %s", wanted.video_id)
        for part in self._write_parts(lacking):
            shard = self.opened.enter_context(Shard(part))
            places |= {key: (shard, index) for index, key in enumerate(shard.row_keys)}
            locks.release(shard.row_keys)
        return places

    def _write_parts(self, lacking: Sequence[Wanted]) -> Iterator[Path]:
        rows = iter(self.extract(lacking) if lacking else ())
        since = time.monotonic()
        for first in rows:
            if first is None:
                continue
            part = self.pool / f"{self.name}.part-{uuid.uuid4().hex[:12]}.h5"
            with open_writer(part, fields=self.fields, header=self.header) as writer:
                stopped = _fill(writer, chain([first], rows), since=since)
            if stopped is not None:
                raise stopped
            since = time.monotonic()
            yield part


def _fill(writer: ShardWriter, rows: Iterable[Row | None], *, since: float) -> BaseException | None:
    # Returns the error or signal that stopped the rows, so that those before it are kept.
    try:
        for row in rows:
            if row is None:
                if time.monotonic() - since > FLUSH_BATCH_SECONDS:
                    break
                continue
            writer.add(row)
            if writer.num_rows >= FLUSH_ROWS or time.monotonic() - since > FLUSH_SECONDS:
                break
    except BaseException as error:
        return error
    return None


def _check_complete(wanted: Sequence[Wanted], places: Mapping[str, Place]) -> None:
    absent = sorted(w.video_id for w in wanted if w.row_key not in places)
    if absent:
        raise ShardError(f"video {absent[0]}: expected a row from the extractor, found none ({len(absent)} in all)")


def _link(own: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    link = output.with_name(f".{output.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        os.link(own, link)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}:
            raise
        with replace_atomically(output) as temporary:  # a cache on another file system: a copy does as well
            shutil.copyfile(own, temporary)
        return
    link.replace(output)


def _keep_others(own: Path, *, wanted: set[str], fields: Sequence[Field], header: ShardHeader) -> None:
    # A video that was removed or changed, or that another user's dataset of the same name holds, may come back: rows
    # that this shard will not hold are kept next to it.
    kept = kept_file(own)
    with ExitStack() as opened:
        rows: dict[str, Place] = {}
        for path in (own, kept):
            try:
                shard = opened.enter_context(Shard(path)) if path.is_file() else None
            except ShardError:
                continue
            indices = range(len(shard.row_keys)) if shard else ()
            rows |= {
                shard.row_keys[i]: (shard, i)
                for i in indices
                if shard and shard.row_keys[i] not in wanted and _is_sound(shard, i)
            }
        before = {key for key, (shard, _) in rows.items() if shard.path == kept}
        if rows.keys() - before:
            found = (shard.read_row_at(index, check=False, load_bytes=False) for shard, index in rows.values())
            write_shard(kept, rows=sorted(found, key=lambda row: row.row_key), fields=fields, header=header)


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


def list_row_keys(pool: Path) -> set[str]:
    """Return the keys of all rows of a pool; damaged files are passed over, `moclip verify` names them."""
    keys: set[str] = set()
    for path in pool.glob("*.h5"):
        noted = read_noted_keys(path)
        if noted is not None:
            keys |= noted
            continue
        try:
            with Shard(path) as shard:
                keys.update(shard.row_keys)
        except ShardError as error:
            _log.warning("%s", error)
    return keys


def kept_file(own: Path) -> Path:
    """Return the file next to a pool's shard that keeps the rows that the shard no longer holds."""
    return own.with_name(f"{own.stem}{_KEPT}.h5")


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
            # No shard's signature: what is left is a store of rows and never a shard to be read as it is.
            signature="",
            provenance=shard.provenance,
        )
        rows = (shard.read_row_at(index, check=False, load_bytes=False) for index in kept)
        write_shard(own, rows=rows, fields=shard.fields, header=header)
        return len(kept), len(shard.row_keys) - len(kept)
