"""Content digests of the small files that a configuration names: weights and encoder folders.

A digest is remembered with the path, size, inode and both times of its file. The time of change (`ctime`) cannot be set
back, so a file that was replaced with its old time stamp is read again.
"""

import json
import os
import time
from collections.abc import Mapping
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from moclip.appearance_extraction import build_encoder_spec
from moclip.encoder_spec import weights_fingerprint
from moclip.errors import MoclipError
from moclip.files import replace_atomically

# File systems may store times in whole seconds. A file that changed within the last tick could change again without a
# new time, so its digest is not remembered.
_TICK_NS = 2 * 10**9


class Contents:
    """Digests of files, remembered in `cache_dir`."""

    def __init__(self, cache_dir: str | Path) -> None:
        """Take the folder of the cache; it need not exist."""
        self._memo = Path(cache_dir) / "fingerprints" / "files.json"
        self._known: dict[str, list[Any]] | None = None

    def file(self, path: str | Path) -> str:
        """Return 32 hex digits over the bytes of a file.

        Raises:
            OSError: The file cannot be read.
        """
        if self._known is None:
            self._known = self._load()
        name = os.path.realpath(path)
        status = Path(name).stat()
        version = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self._known.get(name)
        if known is not None and known[:4] == version:
            return str(known[4])
        with Path(name).open("rb") as file:
            digest = file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
        if max(version[1:3]) < time.time_ns() - _TICK_NS:
            self._known[name] = [*version, digest]
            self._save()
        return digest

    def weights(self, weights: str) -> str:
        """Return the digest of a file of weights, or the text itself where it is a tag or `none`."""
        try:
            return self.file(weights) if Path(weights).is_file() else weights
        except OSError as error:
            return f"unreadable: {error.strerror}"

    def encoder(self, variant: Mapping[str, Any]) -> str:
        """Return what tells the encoder of an appearance variant from another: the same wherever its files are.

        A missing or invalid file gives its message: the job that loads the encoder reports it.
        """
        try:
            return weights_fingerprint(build_encoder_spec(variant), digest=self.file)
        except (MoclipError, OSError) as error:
            return f"invalid: {error}"

    def _load(self) -> dict[str, list[Any]]:
        try:
            known: dict[str, list[Any]] = json.loads(self._memo.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {name: entry for name, entry in known.items() if isinstance(entry, list) and len(entry) == 5}

    def _save(self) -> None:
        try:
            with replace_atomically(self._memo) as temporary:
                temporary.write_text(json.dumps(self._known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        except OSError:  # a cache that cannot be written: the file is read again next time
            return
