"""`Spool`: an array of unknown length on its way to a shard, in bounded memory."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# The vectors of 1,000 frames of 1280 x 720 px; a usual video takes a megabyte.
_MEMORY_BYTES = 64 * 2**20


class Spool:
    """An array that grows along axis 0 and is then read, in memory or, if it is large, in a file without a name.

    The system removes the file with the object or with the process.
    """

    def __init__(self, *, dtype: DTypeLike, item_shape: Sequence[int] = (), folder: Path | None = None) -> None:
        """Take the shape of an item along axis 0, and the folder of the file, None for the system's folder."""
        self.dtype, self._item_shape, self._folder = np.dtype(dtype), tuple(item_shape), folder
        self._item_bytes = self.dtype.itemsize * math.prod(self._item_shape)
        self._parts: list[NDArray[Any]] = []
        self._file: IO[bytes] | None = None
        self._num_items = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array so far."""
        return (self._num_items, *self._item_shape)

    def append(self, items: NDArray[Any]) -> None:
        """Add (N, *item_shape) contiguous items, which are not copied: the caller must not change them."""
        self._num_items += len(items)
        self._parts.append(items)
        if self._file is None and self._num_items * self._item_bytes > _MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        if self._file is not None:
            self._file.writelines(part.data for part in self._parts)
            self._parts = []

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield the array in blocks of `size` items; the last block may be shorter."""
        held: list[NDArray[Any]] = []
        for part in self._read_parts(size):
            at = 0
            while at < len(part):
                held.append(part[at : at + size - sum(map(len, held))])
                at += len(held[-1])
                if sum(map(len, held)) == size:
                    yield _join(held)
                    held = []
        if held:
            yield _join(held)

    def _read_parts(self, size: int) -> Iterator[NDArray[Any]]:
        if self._file is None:
            yield from self._parts
            return
        self._file.seek(0)
        while data := self._file.read(size * self._item_bytes):
            yield np.frombuffer(data, self.dtype).reshape(-1, *self._item_shape)

    def read(self) -> NDArray[Any]:
        """Return the whole array."""
        parts = list(self._read_parts(max(1, self._num_items)))
        return _join(parts) if parts else np.empty(self.shape, self.dtype)


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
