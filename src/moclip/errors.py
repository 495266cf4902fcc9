"""The errors that a user can correct, each a single line."""

import errno
import re
from pathlib import Path

# Why a video has no features. The reason is a word of this table; what was found goes into the detail.
REJECT_REASONS: dict[str, str] = {
    "missing": "a list names a file that is not there",
    "unreadable": "FFmpeg cannot open the file",
    "no_video_stream": "the file holds no video stream",
    "unsupported_codec": "no decoder for this codec",
    "no_frames": "not one frame could be decoded",
    "no_motion_vectors": "the codec wrote none, or none is exported for it",
    "too_short": "fewer frames than the stage needs",
    "decode_error": "decoding stopped at an error",
    "decode_error_rate": "more than a tenth of the packets cannot be decoded",
    "resolution_change": "the picture size changes inside the file",
    "interlaced": "frames are coded as fields, whose vectors are not frame motion",
    "encrypted": "the stream is encrypted",
    "crash": "the decoder crashed on it, twice",
    "timeout": "decoding took longer than it may",
    "out_of_memory": "decoding took more memory than it may",
}

# Those that another machine, or other limits, may not find: they are computed again with the shard that holds them.
MACHINE_REASONS = frozenset({"crash", "timeout", "out_of_memory"})

# What ends a line, what a terminal takes for a command, and what turns the direction of the text around it.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class MoclipError(Exception):
    r"""An error that the user can correct: what was expected, what was found, where, and what to do, in one line.

    >>> print(MoclipError("clip\x1b[2J.mp4: unreadable\n"))
    clip\x1b[2J.mp4: unreadable

    Attributes:
        damaged: A file that is not what was written to it. If a job made it, the next run makes it again.
    """

    def __init__(self, message: str, *, damaged: Path | None = None) -> None:
        """Store the line."""
        super().__init__(message)
        self.damaged = damaged

    def __str__(self) -> str:
        """Return the line; what names of files and texts of libraries bring along does not break it."""
        return _one_line(super().__str__())


class ConfigError(MoclipError):
    """Keys of the configuration are missing, unknown or out of range; a line each."""

    def __str__(self) -> str:
        """Return a line for each fault."""
        return "\n".join(map(_one_line, str(Exception.__str__(self)).split("\n")))


class DatasetError(MoclipError):
    """The dataset's files and its lists do not agree."""


class ModelError(MoclipError):
    """A model or its weights are not what the configuration says."""


class ShardError(MoclipError):
    """A shard is missing, damaged, or was built for other keys than the ones expected."""


class VideoError(MoclipError):
    """A video yields no features, for a reason of `REJECT_REASONS`."""

    def __init__(self, *, reason: str, detail: str, video_id: str) -> None:
        """Store the parts and compose the one line.

        Raises:
            KeyError: `reason` is no key of `REJECT_REASONS`.
        """
        self.reason = reason
        self.detail = detail
        self.video_id = video_id
        super().__init__(f"video {video_id}: {reason} ({REJECT_REASONS[reason]}): {detail}")

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross a process boundary, which needs its parts and not its line."""
        return _rebuild_video_error, (self.reason, self.detail, self.video_id)


def _rebuild_video_error(reason: str, detail: str, video_id: str) -> VideoError:
    return VideoError(reason=reason, detail=detail, video_id=video_id)


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], " ".join(text.split("\n")).strip())


# Errors of the machine that a user can correct: the finding, and what to do. The next run resumes from finished work.
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
