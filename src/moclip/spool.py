"""Bytes of unknown number on their way to a shard, in bounded memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# A usual video takes one or two megabytes; an hour of it in 1280 x 720 px takes a gigabyte.
_MEMORY_BYTES = 32 * 2**20


class Spool:
    """Bytes that are appended and then read, from memory or, when there are many, from a file without a name.

    The file goes with the object, and with the process, however that ends.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        """Take the folder of that file, or None for the system's own one."""
        place = None if folder is None else str(folder)
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES, dir=place)  # noqa: SIM115
        self.num_bytes = 0

    def append(self, data: NDArray[np.uint8]) -> None:
        """Add (N,) uint8."""
        self._file.write(data.data)
        self.num_bytes += len(data)

    def blocks(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield all that was added, `size` bytes at a time; the last block may be shorter."""
        self._file.seek(0)
        while block := self._file.read(size):
            yield np.frombuffer(block, np.uint8)

    def read(self) -> NDArray[np.uint8]:
        """Return all that was added as one (N,) uint8 array."""
        return np.concatenate([np.empty(0, np.uint8), *self.blocks(max(1, self.num_bytes))])
