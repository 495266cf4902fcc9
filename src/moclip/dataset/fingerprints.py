"""Fingerprints of videos: digests of their bytes, remembered by size and times."""

import logging
import os
import re
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, file_digest
from pathlib import Path

from moclip.core.cache_folder import claim_folder
from moclip.core.files import replace_atomically
from moclip.dataset.lists import LabelledVideo
from moclip.errors import DatasetError

_log = logging.getLogger(__name__)

# A killed job loses at most this much hashing.
SAVE_SECONDS = 20.0

_MEMO_CELLS = re.compile(r"\d+ -?\d+ -?\d+ [0-9a-f]{32}")

# A tick of the clock of a disk, which may keep whole seconds. What changed so lately before it was read may change once
# more within that tick and look the same: its digest is not remembered. Nor is that of a file from the future.
_COARSE_TICK_NS, _FINE_TICK_NS = 2 * 10**9, 2 * 10**7

# What a digest of a file's bytes holds for: the path of the file, its size in bytes, its time of change in ns, and that
# of its entry on the disk in ns, which nobody can set back.
Version = tuple[str, int, int, int]


def memo_file(cache_dir: Path, *, dataset: str) -> Path:
    """Return where a cache remembers the digests of the videos of a dataset, for the `memo` of the others here."""
    return claim_folder(cache_dir, "fingerprints") / f"{dataset}.tsv"


def hex_digest(*parts: object) -> str:
    """Return 32 hex digits over some values."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def missing_fingerprint(path: str) -> str:
    """Return the fingerprint of a video that is not on the disk, from its path below the root."""
    return hex_digest("missing", path)


def find_versions(videos: Sequence[LabelledVideo], *, root: Path) -> list[Version | None]:
    """Return path, size, mtime and ctime of each video, None for one that is not on the disk."""
    versions: list[Version | None] = []
    for video in videos:
        path = root / video.path
        try:
            status = path.stat()
        except OSError:
            versions.append(None)
            continue
        is_file = stat.S_ISREG(status.st_mode)
        versions.append((path.as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns) if is_file else None)
    return versions


def digest_videos(versions: Sequence[Version], *, memo: Path | None, num_threads: int) -> list[str]:
    """Return the fingerprint of each video, remembered in `memo`."""
    known = {} if memo is None else read_memo(memo)
    lasting = dict(known)
    unknown = [version for version in versions if version not in known]
    since, begun = time.monotonic(), time.time_ns()
    executor = ThreadPoolExecutor(max_workers=num_threads)
    try:
        for done, (version, digest) in enumerate(zip(unknown, executor.map(_digest_file, unknown), strict=True)):
            known[version] = digest
            if _is_settled(version, at=begun):
                lasting[version] = digest
            if time.monotonic() - since > SAVE_SECONDS:
                _log.info("fingerprints: %d of %d videos", done + 1, len(unknown))
                _write_memo(memo, lasting)
                since = time.monotonic()
    finally:
        # Also when stopped by an error or a signal: what was computed is kept, and what has not begun never does.
        executor.shutdown(cancel_futures=True)
        if unknown:
            _write_memo(memo, lasting)
    _log.info("fingerprints: %d videos read, %d remembered", len(unknown), len(versions) - len(unknown))
    return [known[version] for version in versions]


def _is_settled(version: Version, *, at: int) -> bool:
    return all(stamp < at - (_FINE_TICK_NS if stamp % 10**9 else _COARSE_TICK_NS) for stamp in version[2:])


def _digest_file(version: Version) -> str:
    try:
        with Path(version[0]).open("rb") as file:
            digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
            status = os.fstat(file.fileno())
    except OSError as error:
        raise DatasetError(f"{version[0]}: cannot read the video: {error.strerror}; see its permissions") from error
    if (status.st_size, status.st_mtime_ns) != version[1:3]:
        raise DatasetError(f"{version[0]}: the video changed while it was read; wait until it is whole and run again")
    return digest


class UnchangedCheck:
    """Whether videos, once read, are still those that the manifest lists.

    Attributes:
        kind: What the manifest's fingerprints are of, `content` or `stat`.
    """

    def __init__(self, kind: str, *, root: Path, paths: Collection[Path], memo: Path | None = None) -> None:
        """Take the root of the dataset and the videos to come; `memo` is the one that `build_manifest` wrote.

        A file of the size and the times that it had when its bytes were digested is not digested once more.
        """
        self.kind, self._root = kind, root
        names = {path.as_posix() for path in paths}
        self._known = read_memo(memo, only=names) if memo is not None and kind == "content" else {}

    def __call__(self, path: Path, *, fingerprint: str) -> None:
        """Do nothing where a video still has this fingerprint.

        Raises:
            DatasetError: It has another one, or cannot be read any more: what was computed of it belongs to no
                fingerprint.
        """
        try:
            # Opened, since a network's file system may answer for the status of a closed file from memory.
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
        except OSError as error:
            if fingerprint == missing_fingerprint(path.relative_to(self._root).as_posix()):
                return
            raise DatasetError(f"{path}: the video cannot be read any more: {error.strerror}; run again") from error
        version = (path.as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if self.kind == "stat":
            found = hex_digest(path.relative_to(self._root).as_posix(), *version[1:3])
        else:
            found = self._known.get(version) or _digest_file(version)
        if found != fingerprint:
            raise DatasetError(
                f"{path}: the video changed after the manifest was written: expected the fingerprint "
                f"{fingerprint[:12]}, found {found[:12]}; run again, which reads it anew"
            )


def read_memo(path: Path, *, only: Collection[str] | None = None) -> dict[Version, str]:
    """Return the remembered fingerprints, or those of some paths only."""
    known: dict[Version, str] = {}
    if not path.is_file():
        return known
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1], start=1):
        if only is not None and line.partition("\t")[0] not in only:
            continue
        match line.split("\t"):
            case [name, size, mtime, ctime, digest] if _MEMO_CELLS.fullmatch(f"{size} {mtime} {ctime} {digest}"):
                known[name, int(size), int(mtime), int(ctime)] = digest
            case [_, _, _, _]:  # without the entry's time, as it was written once
                continue
            case _:
                _log.warning("%s, line %d: not understood; the video is read again", path, number)
    return known


def _write_memo(path: Path | None, known: Mapping[Version, str]) -> None:
    if path is None:
        return
    # Only the last version of each file: what it was before does not come back with the same time.
    latest = {version[0]: "\t".join([*map(str, version), digest]) + "\n" for version, digest in known.items()}
    with replace_atomically(path) as temporary:
        temporary.write_text("".join(line for _, line in sorted(latest.items())), encoding="utf-8")
