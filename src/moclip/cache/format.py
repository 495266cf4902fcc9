"""The format of a shard: one HDF5 file with the rows of some videos from one extractor.

Layout (`docs/formats.md` has the table)::

    attributes   format, format_version, extractor, extractor_version, parameters (JSON), provenance (JSON), signature,
                 content (digest over ids and row digests), fields (JSON)
    video_id     (N,) text            row_key       (N,) text, what the row was computed from
    reject_reason, reject_detail      (N,) text, empty where the video has features
    digest       (N,) text, of the row's data
    packed/F     rows concatenated along axis 0, with offsets/F (N + 1,) int64
    scalar/F     (N,) one value a row
    bytes/F      the bytes of all rows, compressed in chunks, none of which is shared by two rows;
                 starts/F and sizes/F (N,) int64 are the places of each row

A file is written whole under a unique name, flushed to the disk, and renamed: what is half written is never read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from moclip.core.spool import Spool

FORMAT_VERSION = 2

# Part of the format: chunks are copied from shard to shard as they are.
CHUNK_BYTES = 2**17

# Version 1 had another way to store bytes, and no field of today was stored so.
READABLE_VERSIONS = (1, FORMAT_VERSION)

Kind = Literal["packed", "scalar", "bytes"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """How one field of a row is stored.

    `packed`: arrays of any length along axis 0 and one common tail shape; read all at once in one go.
    `scalar`: one number or text a row. `bytes`: any number of bytes, compressed, read row by row.
    """

    name: str
    kind: Kind
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class StoredBytes:
    """Bytes of a row in an open shard, not read yet."""

    dataset: h5py.Dataset
    start: int
    num_bytes: int

    def blocks(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield them, `size` at a time."""
        for start in range(self.start, self.start + self.num_bytes, size):
            yield self.dataset[start : min(start + size, self.start + self.num_bytes)]


Bytes = NDArray[np.uint8] | Spool | StoredBytes

Value = NDArray[Any] | str | int | float | bool | Spool | StoredBytes


@dataclass(frozen=True, kw_only=True)
class Row:
    """The features of one video from one extractor, or the reason why there are none.

    `digest` is that of its data where it is known already, which writes the row without looking at its bytes.
    """

    video_id: str
    row_key: str
    values: Mapping[str, Value]
    reject_reason: str = ""
    reject_detail: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """What a shard says of itself; `provenance` informs and takes no part in any key."""

    extractor: str
    extractor_version: int
    parameters: Mapping[str, Any]
    signature: str
    provenance: Mapping[str, Any]


def build_row_digest(row: Row, *, fields: Sequence[Field]) -> str:
    """Return 32 hex digits over the row's data: every field's name, type, shape and bytes, or the reason."""
    digest = start_reject_digest(row.reject_reason, row.reject_detail)
    for field in fields:
        if field.name in row.values:
            for part in _digested(row.values[field.name], field=field):
                digest.update(part)
    return digest.hexdigest()


def start_reject_digest(reason: str, detail: str) -> blake2b:
    """Return the digest of a rejected row, which has no values, and the beginning of that of any other."""
    return blake2b(f"{reason}\0{detail}\0".encode(), digest_size=16)


def _digested(value: Any, *, field: Field) -> Iterator[bytes | memoryview]:
    if field.dtype == "text":
        yield f"{field.name}\0{value}\0".encode()
    elif field.kind == "bytes":
        yield f"{field.name}\0bytes\0{num_bytes(value)}\0".encode()
        yield from (block.data for block in read_blocks(value))
    else:
        array = np.ascontiguousarray(value, dtype=field.dtype)
        yield f"{field.name}\0{array.dtype.str}\0{array.shape}\0".encode()
        yield array.tobytes()


def num_bytes(value: Bytes) -> int:
    """Return the number of bytes of a value."""
    return len(value) if isinstance(value, np.ndarray) else value.num_bytes


def read_blocks(value: Bytes) -> Iterator[NDArray[np.uint8]]:
    """Return the bytes of a value in blocks of at most `CHUNK_BYTES`."""
    if isinstance(value, np.ndarray):
        return (value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES))
    return value.blocks(CHUNK_BYTES)
