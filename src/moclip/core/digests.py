"""Digests of files and of values, and seeds derived from them."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from moclip.core.cache_folder import claim_folder, read_folders
from moclip.core.files import write_json

# File systems may store times in whole seconds. A file that changed within the last tick could change again without a
# new time, so its digest is not remembered.
_TICK_NS = 2 * 10**9

_SEAL = "digest"

_MEMO = "files.json"


def digest_file(path: Path) -> str:
    """Return 32 hex digits over the bytes of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()[:32]


def stat_version(path: Path) -> list[int]:
    """Return size, mtime, ctime (both in ns) and inode of a file: while they are the same, so are its bytes."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class FileDigests:
    """Digests of files, remembered in a file of the cache that may be deleted at any time."""

    def __init__(self, cache_dir: str | Path) -> None:
        """Take the folder of the cache; it need not exist."""
        self._cache_dir = Path(cache_dir)
        self._known: dict[str, list[Any]] | None = None

    def __call__(self, path: str | Path) -> str:
        """Return 32 hex digits over the bytes of a file, as `digest_file` does.

        Raises:
            OSError: The file cannot be read.
        """
        if self._known is None:
            self._known = self._load()
        name = os.path.realpath(path)
        version = stat_version(Path(name))
        known = self._known.get(name)
        if known is not None and known[:4] == version:
            return str(known[4])
        digest = digest_file(Path(name))
        if max(version[1:3]) < time.time_ns() - _TICK_NS:
            self._known[name] = [*version, digest]
            self._save()
        return digest

    def _load(self) -> dict[str, list[Any]]:
        known: dict[str, list[Any]] = {}
        for folder in read_folders(self._cache_dir, "fingerprints"):
            with suppress(OSError, ValueError, TypeError, AttributeError):
                known |= unseal(json.loads((folder / _MEMO).read_text(encoding="utf-8")))
        return known

    def _save(self) -> None:
        with suppress(OSError):  # a cache that cannot be written: the file is read again next time
            write_json(claim_folder(self._cache_dir, "fingerprints") / _MEMO, seal(self._known or {}))


def build_digest(*parts: Any) -> str:
    """Return 32 hex digits of a BLAKE2b digest over the parts as sorted JSON."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document with a digest of its content, which `unseal` checks."""
    return {**document, _SEAL: build_digest(document)}


def unseal(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document that was sealed.

    Raises:
        ValueError: It is no sealed document, or its content has changed.
    """
    content = {key: value for key, value in document.items() if key != _SEAL}
    if document.get(_SEAL) != build_digest(content):
        raise ValueError("its content does not match its digest")
    return content


def seed_of(*parts: object) -> int:
    """Return a seed, 63 bits, that follows from some values."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "little") >> 1
