"""Locks across processes: the right to write one file of a cache, and the right to compute a row.

The system releases a lock when its holder dies. File systems without locks are named in the log and used anyway: two
jobs may then compute one result twice, and every file still appears whole.
"""

import errno
import fcntl
import getpass
import logging
import os
import socket
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_log = logging.getLogger(__name__)

# NFS without a lock service, Lustre mounted without `flock`, and file systems over object storage.
# EBADF: a file that is open for reading only.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}

# Offsets of a file are 63 bits wide.
_KEY_BYTES = 7


@contextmanager
def writer_lock(pool: Path, *, name: str) -> Iterator[None]:
    """Hold the right to write one entry of a folder, across processes; readers need none.

    The lock file names its holder, which is logged while another process waits.
    """
    with _open_lock(pool / f".{name}.lock") as file:
        if file is not None:
            _lock(file, pool=pool, name=name)
        if file is None or not file.writable():
            yield
            return
        file.truncate(0)
        file.write(f"{_user()} on {socket.gethostname()}, process {os.getpid()}".encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _lock(file: IO[bytes], *, pool: Path, name: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("waiting for %s, who writes %s", read_owner(pool, name=name), pool / name)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _log.warning("%s: this file system has no locks; see that no other job builds the same files", file.name)


@contextmanager
def _open_lock(path: Path) -> Iterator[IO[bytes] | None]:
    """Yield an open lock file, which all who may write to its folder may lock.

    That of another user may only be readable, which does for a lock on a file of this machine. None if it is not even
    readable: then nothing is locked, and two jobs may compute one result twice.
    """
    try:
        file: IO[bytes] = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666), "r+b")
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode) | (path.parent.stat().st_mode & 0o666)
        if status.st_uid == os.geteuid() and mode != stat.S_IMODE(status.st_mode):
            os.fchmod(file.fileno(), mode)
    except PermissionError:
        try:
            file = path.open("rb")
        except PermissionError:
            _log.warning("%s: the lock of another user; another job may compute the same results", path)
            yield None
            return
    with file:
        yield file


def try_locks(paths: Iterable[Path], *, held: ExitStack) -> bool:
    """Take some locks until `held` is closed; return False if another process holds one of them."""
    for path in paths:
        file = held.enter_context(_open_lock(path))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) if file is not None else None
        except BlockingIOError:
            return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with no name for its user
        return f"user {os.getuid()}"


def read_owner(pool: Path, *, name: str) -> str:
    """Return who writes an entry of a folder: user, host and process; or "" if nobody does."""
    path = pool / f".{name}.lock"
    with suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return ""


class KeyLocks:
    """The right to compute the rows of some keys of a pool, so that two jobs never compute one row at a time.

    One byte of the file `.rows.lock` stands for each key, so that any number of keys needs a single open file.
    A process must not wait for a key while it holds another one, or two processes could wait for each other.
    """

    def __init__(self, pool: Path) -> None:
        """Open the lock file of a pool."""
        self._name = pool / ".rows.lock"
        self._opened = ExitStack()
        self._file = self._opened.enter_context(_open_lock(self._name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def take_free(self, keys: Collection[str]) -> set[str]:
        """Take the keys that no other process holds, and return them."""
        return {key for key in sorted(keys) if self._take(key, fcntl.LOCK_EX | fcntl.LOCK_NB)}

    def wait_for(self, key: str) -> None:
        """Take a key as soon as no other process holds it."""
        _log.info("waiting for another job, which computes %s", key)
        self._take(key, fcntl.LOCK_EX)

    def release(self, keys: Collection[str]) -> None:
        """Release keys whose rows are in the pool."""
        for key in keys if self._file is not None else ():
            self._take(key, fcntl.LOCK_UN)

    def _take(self, key: str, how: int) -> bool:
        place = int.from_bytes(blake2b(key.encode(), digest_size=_KEY_BYTES).digest(), "little")
        try:
            if self._file is not None:
                fcntl.lockf(self._file, how, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self._file = None
            _log.warning("%s: cannot be locked here; another job may compute the same rows", self._name)
        return True
