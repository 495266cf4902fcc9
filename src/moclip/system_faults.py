"""Faults of the machine in plain words: a full disk, a folder that may not be written, too many open files. No I/O."""

import errno
import re

from moclip.errors import MoclipError

# What a user can mend: what was found, and what to do. The next run goes on from what was finished.
_MENDABLE: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space there, or point `cache_dir` to another disk, and run again"),
    errno.EDQUOT: ("your quota of that disk is used up", "free some space there and run again"),
    errno.EROFS: ("that disk can only be read", "make it writable, or run in another folder"),
    errno.EACCES: ("permission denied", "see who owns it, and run again"),
    errno.EPERM: ("the system does not permit it", "see who owns it, and run again"),
    errno.EMFILE: ("too many open files", "raise the limit (`ulimit -n`) and run again"),
    errno.ENFILE: ("too many open files on this machine", "close other programs and run again"),
    errno.EIO: ("the disk reports an error", "see the system's log, mend or replace the disk, and run again"),
    errno.ESTALE: ("the network folder was lost", "mount it again and run again"),
    errno.ENOTDIR: ("a part of the path is no folder", "correct the path, or move that file away"),
    errno.ENAMETOOLONG: ("the name is too long for that disk", "shorten it"),
}
# HDF5 and safetensors give the system's number in their own text only.
_NUMBER_IN_TEXT = re.compile(r"(?:\[Errno |errno = |os error )(\d+)")
_DISK_FULL = "No space left on device"


def explain_system_fault(error: BaseException) -> MoclipError | None:
    """Return the one line for a fault of the machine, or None where the error is of another kind, and so ours.

    What was found, at which file, and what to do; the text of the library that met it is left out.
    """
    if not isinstance(error, OSError | RuntimeError) and type(error).__name__ != "SafetensorError":
        return None
    number = _number_of(error)
    if number is None or number not in _MENDABLE:
        return None
    found, todo = _MENDABLE[number]
    name = getattr(error, "filename", None)
    place = f"{name}: " if name else ""
    return MoclipError(f"{place}{found}; {todo}; what was finished is kept")


def _number_of(error: BaseException) -> int | None:
    # The error at hand may be the last of several: a file that cannot be closed, after a disk was found full.
    seen: set[int] = set()
    current: BaseException | None = error
    found: int | None = None
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno is not None:
            found = current.errno
        elif isinstance(current, OSError | RuntimeError) or type(current).__name__ == "SafetensorError":
            text = str(current)
            match = _NUMBER_IN_TEXT.search(text)
            found = int(match[1]) if match else errno.ENOSPC if _DISK_FULL in text else found
        if found in _MENDABLE:
            return found
        current = current.__cause__ or current.__context__
    return found
