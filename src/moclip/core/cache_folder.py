"""Folders of a cache that several users may share.

A new folder takes the permissions of the folder above it, so that all who may write to the cache may write to all of
its parts, whatever the umask of the user who came first. A user who may only read the cache uses what it holds, and
keeps new files in a folder of the project.
"""

import errno
import logging
import os
import stat
from functools import cache
from pathlib import Path

_log = logging.getLogger(__name__)

# Below the working directory, like the default of `cache_dir`.
OWN_CACHE = Path("results/.cache-own")

_NOT_PERMITTED = {errno.EACCES, errno.EPERM, errno.EROFS}


def claim_folder(cache_dir: Path, *parts: str) -> Path:
    """Return a folder of a cache that this user may write to, made if necessary.

    It is the folder in `cache_dir`, or the one in `OWN_CACHE` where that can only be read.

    Raises:
        OSError: Neither can be made.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        folder = cache_dir
        for part in parts:
            folder = folder / part
            make_folder(folder)
    except OSError as error:
        if error.errno not in _NOT_PERMITTED or cache_dir == OWN_CACHE:
            raise
    else:
        if os.access(folder, os.W_OK | os.X_OK) or cache_dir == OWN_CACHE:
            return folder
    _warn(cache_dir)
    return claim_folder(OWN_CACHE, *parts)


def make_folder(folder: Path) -> None:
    """Make a folder with the permissions of the folder above it, its group included; one that exists stays as it is."""
    if folder.is_dir():
        return
    try:
        folder.mkdir()
    except FileExistsError:  # another process was faster
        return
    # Files are replaced by renaming, which the sticky bit would deny to all but their owner.
    folder.chmod(stat.S_IMODE(folder.parent.stat().st_mode) & ~stat.S_ISVTX)


def read_folders(cache_dir: Path, *parts: str) -> list[Path]:
    """Return the existing folders of a cache to read from: in `cache_dir`, and in `OWN_CACHE`."""
    return [folder for top in (cache_dir, OWN_CACHE) if (folder := top.joinpath(*parts)).is_dir()]


def describe_cache(cache_dir: Path) -> list[str]:
    """Return a line if this user may not write to some part of a cache, else none."""
    if not cache_dir.is_dir():
        return []
    # Folders of artifacts are never written to after they were made, unlike those of rows.
    parts = [*cache_dir.glob("*"), *{path.parent for path in cache_dir.glob("*/*/*.h5")}]
    closed = [part for part in [cache_dir, *parts] if part.is_dir() and not os.access(part, os.W_OK | os.X_OK)]
    if not closed:
        return []
    share = f"chgrp -R GROUP {cache_dir}; chmod -R g+rwX {cache_dir}; find {cache_dir} -type d -exec chmod g+s {{}} +"
    return [
        f"note: {closed[0]} can only be read by you: what it holds is used, and new rows and models are kept in "
        f"{OWN_CACHE}; its owner can share it with a group: {share}"
    ]


@cache
def _warn(cache_dir: Path) -> None:
    _log.warning("%s: parts of it can only be read by this user; new files are kept in %s", cache_dir, OWN_CACHE)
