"""`Spool`: bytes of unknown number on their way to a shard, in bounded memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

# A usual video takes one or two megabytes; an hour of it in 1280 x 720 px takes a gigabyte.
_MEMORY_BYTES = 16 * 2**20


class Spool:
    """Bytes that are appended and then read, from memory or, when there are many, from a file without a name.

    The file goes with the object, and with the process, however that ends.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        """Take the folder of that file, or None for the system's own one."""
        self._folder = folder
        self._parts: list[NDArray[np.uint8]] = []
        self._file: IO[bytes] | None = None
        self.num_bytes = 0

    def append(self, data: NDArray[np.uint8]) -> None:
        """Add (N,) uint8, which may be kept as it is: nobody changes it any more."""
        self.num_bytes += len(data)
        self._parts.append(data)
        if self._file is None and self.num_bytes > _MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        if self._file is not None:
            self._file.writelines(part.data for part in self._parts)
            self._parts = []

    def blocks(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield all that was added, `size` bytes at a time; the last block may be shorter."""
        if self._file is None:
            whole = self.read()
            yield from (whole[start : start + size] for start in range(0, len(whole), size))
            return
        self._file.seek(0)
        while block := self._file.read(size):
            yield np.frombuffer(block, np.uint8)

    def read(self) -> NDArray[np.uint8]:
        """Return all that was added as one (N,) uint8 array."""
        if self._file is not None:
            return np.concatenate([np.empty(0, np.uint8), *self.blocks(self.num_bytes)])
        if len(self._parts) != 1:
            self._parts = [np.concatenate([np.empty(0, np.uint8), *self._parts])]
        return self._parts[0]
