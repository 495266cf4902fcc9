"""The row cache: every row ever computed for one set of parameters, and how a shard is put together from it.

A pool is a folder of shard files that share an extractor, its version and its parameters. Snakemake, or any other
engine, manages the declared shard and may delete it at will; the pool it never sees. A row is found by its key in any
file of its pool, so that a video added, a shard lost or a new number of shards costs only the rows that are new.
"""

import errno
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from moclip.errors import ShardError, VideoError
from moclip.files import replace_atomically
from moclip.shards import Field, Row, Shard, ShardHeader, ShardWriter, build_digest, open_writer, write_shard

_log = logging.getLogger(__name__)

Place = tuple[Shard, int]

# NFS without a lock service, Lustre mounted without `flock`, and file systems over object storage.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

# A killed job loses at most this much computing.
FLUSH_SECONDS = 10.0
FLUSH_ROWS = 64
# Where an extractor computes in batches and says where one ends: that one, or what takes less than this.
FLUSH_BATCH_SECONDS = 0.5


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
    better written before the next begins. The shard's rows are sorted by id.

    Raises:
        ShardError: `extract` left out a wanted row.
        VideoError: A video is rejected and `allow_rejects` is false; every computed row stays in the pool.
    """
    pool.mkdir(parents=True, exist_ok=True)
    # Files of the pool stay open until the shard is written: another job may replace or remove them meanwhile.
    with _locked(pool / f".{name}.lock"), ExitStack() as opened:
        own = pool / f"{name}.h5"
        places = _find_sound_rows(pool, first=own, keys={w.row_key for w in wanted}, opened=opened)
        missing = [w for w in wanted if w.row_key not in places]
        for part in _compute(missing, extract=extract, pool=pool, name=name, fields=fields, header=header):
            shard = opened.enter_context(Shard(part))
            places |= {key: (shard, index) for index, key in enumerate(shard.row_keys)}
        _check_complete(wanted, places)
        write_shard(own, rows=_read_rows(wanted, places, allow_rejects=allow_rejects), fields=fields, header=header)
        _link(own, output)
        for part in pool.glob(f"{name}.part-*.h5"):
            part.unlink()
    return ShardCount(num_reused=len(wanted) - len(missing), num_computed=len(missing))


def _find_sound_rows(pool: Path, *, first: Path, keys: set[str], opened: ExitStack) -> dict[str, Place]:
    # The shard's own file holds nearly all its rows; the others are opened only while a row is still missing.
    places: dict[str, Place] = {}
    for path in sorted(pool.glob("*.h5"), key=lambda path: (path != first, path.name)):
        if len(places) == len(keys):
            break
        try:
            shard = Shard(path)
        except ShardError as error:
            _log.warning("%s; its rows are computed again", error)
            continue
        wanted = [i for i, key in enumerate(shard.row_keys) if key in keys and key not in places]
        sound = {shard.row_keys[index]: (shard, index) for index in wanted if _is_sound(shard, index)}
        places |= sound
        # Only files that serve a row are kept open, so that a pool of any size fits the limit on open files.
        opened.enter_context(shard) if sound else shard.close()
    return places


def _is_sound(shard: Shard, index: int) -> bool:
    try:
        shard.read_row_at(index, load_bytes=False)
    except ShardError as error:
        _log.warning("%s; the row is computed again", error)
        return False
    return True


def _read_rows(wanted: Sequence[Wanted], places: Mapping[str, Place], *, allow_rejects: bool) -> Iterator[Row]:
    for row in sorted(wanted, key=lambda row: row.video_id):
        shard, index = places[row.row_key]
        # The pool's row may have been computed for another video of the same bytes: the key is what counts.
        found = replace(shard.read_row_at(index, check=False, load_bytes=False), video_id=row.video_id)
        if found.reject_reason and not allow_rejects:
            raise VideoError(reason=found.reject_reason, detail=found.reject_detail, video_id=found.video_id)
        yield found


def _compute(
    missing: Sequence[Wanted],
    *,
    extract: Callable[[Sequence[Wanted]], Iterable[Row | None]],
    pool: Path,
    name: str,
    fields: Sequence[Field],
    header: ShardHeader,
) -> list[Path]:
    parts: list[Path] = []
    rows = iter(extract(missing) if missing else ())
    since = time.monotonic()
    for first in rows:
        if first is None:
            continue
        part = pool / f"{name}.part-{uuid.uuid4().hex[:12]}.h5"
        with open_writer(part, fields=fields, header=header) as writer:
            stopped = _fill(writer, chain([first], rows), since=since)
        since = time.monotonic()
        parts.append(part)
        if stopped is not None:
            raise stopped
    return parts


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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # One writer per shard, across processes and nodes; the system lets go of the lock when its holder dies. Without it
    # two jobs for one shard, which only a killed main process leaves, compute the same rows twice, and one may miss a
    # part that the other has removed and fail; a wrong row cannot come about, since every file appears whole.
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: this file system has no locks; see that no other job builds the same shard", path)
        yield
