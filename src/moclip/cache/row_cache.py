"""Assemble shards from cached rows, and from the rows that the cache lacks.

    with assemble_shard(output, pool=pool, name=name, wanted=wanted, fields=fields, header=header) as shard:
        for missing in shard.claim_missing():
            for row in extract(missing):
                shard.append(row)
        shard.publish()

Appended rows are written to part files of the pool within seconds, so that a killed job loses little. A row is computed
once, also if several videos have its key or several jobs want it at the same time.
"""

import errno
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from moclip.cache.format import Field, Row, ShardHeader
from moclip.cache.locks import KeyLocks, writer_lock
from moclip.cache.pool import FoundRows, keep_other_rows, note_keys
from moclip.cache.timings import Stopwatch, note_timing
from moclip.cache.writer import ShardWriter, open_writer, write_shard
from moclip.core.digests import build_digest
from moclip.core.files import replace_atomically
from moclip.errors import ShardError, VideoError

_log = logging.getLogger(__name__)

# A killed job loses at most this much computing.
FLUSH_SECONDS = 10.0

FLUSH_ROWS = 64

# At the end of a batch, rows are written if computing them took at least this long.
FLUSH_BATCH_SECONDS = 0.5

_NO_HARD_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A row that a shard must hold: the video, and the key of what its features are computed from."""

    video_id: str
    row_key: str


@dataclass(frozen=True, kw_only=True)
class ShardCount:
    """Numbers of rows of a shard that were taken from the pool, and that were computed."""

    num_reused: int
    num_computed: int


def shard_signature(*, extractor: str, version: int, parameters: Mapping[str, object], wanted: Sequence[Wanted]) -> str:
    """Return 32 hex digits that name what a shard must hold: extractor, version, parameters, ids and row keys."""
    return build_digest(extractor, version, dict(parameters), sorted((w.video_id, w.row_key) for w in wanted))


@contextmanager
def assemble_shard(
    output: Path, *, pool: Path, name: str, wanted: Sequence[Wanted], fields: Sequence[Field], header: ShardHeader
) -> Iterator["Assembly"]:
    """Yield the assembly of the shard `output`, which holds the right to write the file `name` of the pool.

    Rows that were appended before an error or a signal are kept in the pool.
    """
    pool.mkdir(parents=True, exist_ok=True)
    own = pool / f"{name}.h5"
    with writer_lock(pool, name=name), FoundRows(pool, first=own) as found, KeyLocks(pool) as locks:
        found.search({row.row_key for row in wanted})
        assembly = Assembly(output, own=own, wanted=wanted, fields=fields, header=header, found=found, locks=locks)
        try:
            yield assembly
        finally:
            assembly.flush()


class Assembly:
    """A shard on its way: claim the missing rows, append them, publish the shard."""

    def __init__(
        self,
        output: Path,
        *,
        own: Path,
        wanted: Sequence[Wanted],
        fields: Sequence[Field],
        header: ShardHeader,
        found: FoundRows,
        locks: KeyLocks,
    ) -> None:
        """Take what `assemble_shard` prepared."""
        self._output, self._own, self._wanted = output, own, wanted
        self._fields, self._header = fields, header
        self._found, self._locks = found, locks
        self._num_computed = 0
        self._part: ExitStack | None = None
        self._flushed_at = time.monotonic()

    def claim_missing(self) -> Iterator[list[Wanted]]:
        """Yield lists of missing rows, sorted by video, for which this job holds the right to compute them.

        All free rows come first. Rows of another job are then waited for one by one, and yielded only if that job did
        not finish them. Append the rows of a list before asking for the next.
        """
        # Videos of equal bytes have one key: the row of the first serves all of them.
        missing = {row.row_key: row for row in reversed(self._wanted) if row.row_key not in self._found}
        free = self._locks.take_free(missing.keys())
        for keys in [free, *({key} for key in sorted(missing.keys() - free))]:
            if keys is not free:
                self._locks.wait_for(min(keys))
            # Another job may have written some of them since the first search.
            self._found.search(keys)
            self._locks.release({key for key in keys if key in self._found})
            lacking = [missing[key] for key in keys if key not in self._found]
            if lacking:
                lacking.sort(key=lambda row: row.video_id)
                self._num_computed += len(lacking)
                for row in lacking:
                    _log.info("to compute: %s", row.video_id)
                self._flushed_at = time.monotonic()
                watch = Stopwatch()
                yield lacking
                note_timing(self._own, watch.read(num_rows=len(lacking)))
            self.flush()
            self._locks.release(keys)

    def append(self, row: Row) -> None:
        """Add a computed row, which reaches the pool within seconds."""
        if self._part is None:
            self._open_part()
        self._writer.add(row)
        if self._writer.num_rows >= FLUSH_ROWS or self._seconds() > FLUSH_SECONDS:
            self.flush()

    def end_batch(self) -> None:
        """Write the rows of a batch that took long before the next batch starts."""
        if self._seconds() > FLUSH_BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the appended rows to the pool and release their keys."""
        if self._part is not None:
            part, self._part = self._part, None
            part.close()
            self._locks.release(self._found.add_part(self._part_path))
            self._flushed_at = time.monotonic()

    def _open_part(self) -> None:
        self._part_path = self._own.with_name(f"{self._own.stem}.part-{uuid.uuid4().hex[:12]}.h5")
        part = ExitStack()
        self._writer: ShardWriter = part.enter_context(
            open_writer(self._part_path, fields=self._fields, header=self._header)
        )
        self._part = part

    def _seconds(self) -> float:
        return time.monotonic() - self._flushed_at

    def publish(self, *, allow_rejects: bool = True) -> ShardCount:
        """Write the shard, its rows sorted by id, and return how many were reused and computed.

        Raises:
            ShardError: A wanted row was not appended.
            VideoError: A video is rejected and `allow_rejects` is false; every computed row stays in the pool.
        """
        self.flush()
        self._check_complete()
        keys = [row.row_key for row in self._wanted]
        keep_other_rows(self._own, wanted=keys, fields=self._fields, header=self._header)
        rows = self._read_rows(allow_rejects=allow_rejects)
        write_shard(self._own, rows=rows, fields=self._fields, header=self._header)
        note_keys(self._own, keys=keys)
        _link(self._own, self._output)
        for part in self._own.parent.glob(f"{self._own.stem}.part-*.h5"):
            part.unlink()
        return ShardCount(num_reused=len(self._wanted) - self._num_computed, num_computed=self._num_computed)

    def _check_complete(self) -> None:
        absent = sorted(row.video_id for row in self._wanted if row.row_key not in self._found)
        if absent:
            raise ShardError(f"video {absent[0]}: expected a row from the extractor, found none ({len(absent)} in all)")

    def _read_rows(self, *, allow_rejects: bool) -> Iterator[Row]:
        for wanted in sorted(self._wanted, key=lambda row: row.video_id):
            # The pool's row may have been computed for another video of the same bytes: the key is what counts.
            row = replace(self._found.read(wanted.row_key), video_id=wanted.video_id)
            if row.reject_reason and not allow_rejects:
                raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=row.video_id)
            yield row


def _link(own: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    link = output.with_name(f".{output.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        os.link(own, link)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        with replace_atomically(output) as temporary:  # a cache on another file system: a copy does as well
            shutil.copyfile(own, temporary)
        return
    link.replace(output)
