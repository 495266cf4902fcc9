"""The format of a shard: one HDF5 file with the rows of some videos from one extractor.

Layout (`docs/formats.md` has the table)::

    attributes   format, format_version, extractor, extractor_version, parameters (JSON), provenance (JSON), signature,
                 content (digest over ids and row digests), fields (JSON)
    video_id     (N,) text            row_key       (N,) text, what the row was computed from
    reject_reason, reject_detail      (N,) text, empty where the video has features
    digest       (N,) text, of the row's data
    packed/F     rows concatenated along axis 0, with offsets/F (N + 1,) int64
    scalar/F     (N,) one value per row
    tensor/F/S   rows of one shape S of their other axes, such as `30x40x2`, concatenated along axis 0, compressed;
                 row i is `[starts/F[i] : starts/F[i] + shapes/F[i, 0]]`, and no two rows share a chunk

A file is written completely under a unique name, flushed to the disk, and renamed, so no reader sees part of a file.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from moclip.core.digests import build_digest
from moclip.core.spool import Spool

FORMAT_VERSION = 3

# Earlier versions had other ways to store large arrays; their packed and scalar fields are the same.
READABLE_VERSIONS = (1, 2, FORMAT_VERSION)

Kind = Literal["packed", "scalar", "tensor"]

# Part of the format: compressed chunks are copied from shard to shard.
_CHUNK_BYTES = 2**19

_MAX_CHUNK_ITEMS = 32

# Bitshuffle transposes the bits of a whole chunk, so that zstd sees long runs. Level 1 compresses vectors best.
COMPRESSION = hdf5plugin.Bitshuffle(nelems=2**18, cname="zstd", clevel=1)


def chunk_items(dtype: np.dtype[Any], item_shape: Sequence[int]) -> int:
    """Return the number of items along axis 0 in a chunk of a tensor."""
    return min(_MAX_CHUNK_ITEMS, max(1, _CHUNK_BYTES // max(1, dtype.itemsize * math.prod(item_shape))))


@dataclass(frozen=True, kw_only=True)
class Field:
    """How one field of a row is stored.

    `packed`: small arrays of any length along axis 0 and one common shape of the other axes, read all at once.
    `scalar`: one number or text per row. `tensor`: large arrays of any shape, compressed, read row by row.
    `mask_value` marks the places of a tensor without a value; it is an attribute of the dataset.
    """

    name: str
    kind: Kind
    dtype: str = "float32"
    mask_value: int | None = None


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """The tensor of a row in an open shard, not read yet; `chunk_items` is the length of a chunk along axis 0."""

    dataset: h5py.Dataset
    chunk_items: int
    start: int
    shape: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        """Return the whole tensor."""
        whole = np.empty(self.shape, self.dataset.dtype)
        if whole.size:
            self.dataset.read_direct(whole, np.s_[self.start : self.start + self.shape[0]])
        return whole

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the filter mask and the compressed bytes of each chunk."""
        origin = (0,) * (len(self.shape) - 1)
        for at in range(self.start, self.start + self.shape[0], self.chunk_items):
            yield self.dataset.id.read_direct_chunk((at, *origin))


Value = NDArray[Any] | str | int | float | bool | Spool | StoredTensor


@dataclass(frozen=True, kw_only=True)
class Row:
    """The features of one video from one extractor, or the reason why there are none.

    `digest` is the digest of its data if it is known, so that the row is written without reading its data.
    """

    video_id: str
    row_key: str
    values: Mapping[str, Value]
    reject_reason: str = ""
    reject_detail: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """The attributes of a shard; `provenance` is information and part of no key."""

    extractor: str
    extractor_version: int
    parameters: Mapping[str, Any]
    signature: str
    provenance: Mapping[str, Any]


def build_signature(
    *, extractor: str, version: int, parameters: Mapping[str, object], rows: Iterable[tuple[str, str]]
) -> str:
    """Return 32 hex digits that name what a shard must hold: extractor, version, parameters, video ids and row keys."""
    return build_digest(extractor, version, dict(parameters), sorted(rows))


def build_row_digest(row: Row, *, fields: Sequence[Field]) -> str:
    """Return 32 hex digits over the row's data: every field's name, type, shape and bytes, or the reason.

    The bytes of a tensor are the compressed ones, so it must be stored: hashing them is ten times as fast.
    """
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
    elif field.kind == "tensor":
        yield f"{field.name}\0{np.dtype(field.dtype).str}\0{value.shape}\0".encode()
        for filter_mask, chunk in value.chunks():
            yield f"{filter_mask}\0{len(chunk)}\0".encode()
            yield chunk
    else:
        array = np.ascontiguousarray(value, dtype=field.dtype)
        yield f"{field.name}\0{array.dtype.str}\0{array.shape}\0".encode()
        yield array.tobytes()


def name_shape(shape: Sequence[int]) -> str:
    """Return the name of the dataset of tensors with this shape along the axes after the first, such as `30x40x2`."""
    return "x".join(map(str, shape)) or "1"
