"""Write shards."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from moclip.cache.format import (
    COMPRESSION,
    FORMAT_VERSION,
    Field,
    Row,
    ShardHeader,
    StoredTensor,
    Value,
    build_row_digest,
    chunk_items,
    name_shape,
)
from moclip.core.digests import build_digest
from moclip.core.files import replace_atomically
from moclip.core.spool import Spool
from moclip.errors import ShardError

_CHUNKS_AT_ONCE = 8


def write_shard(path: Path, *, rows: Iterable[Row], fields: Sequence[Field], header: ShardHeader) -> None:
    """Write the rows, in the order given, as `ShardWriter` does."""
    with open_writer(path, fields=fields, header=header) as writer:
        for row in rows:
            writer.add(row)


@contextmanager
def open_writer(path: Path, *, fields: Sequence[Field], header: ShardHeader) -> Iterator["ShardWriter"]:
    """Yield the writer of a shard, whose file appears when the block ends well."""
    # No lock: nobody else knows the name, and shared folders of clusters often have none to give.
    with replace_atomically(path) as temporary, h5py.File(temporary, "w", libver="latest", locking=False) as file:
        _write_header(file, header=header, fields=fields)
        writer = ShardWriter(file, fields=fields)
        yield writer
        writer.finish()


class ShardWriter:
    """A shard that is being written. Tensors go to the disk as rows come, so memory does not grow with their number."""

    def __init__(self, file: h5py.File, *, fields: Sequence[Field]) -> None:
        """Take the open file, and the fields of its rows."""
        self._file, self._fields = file, fields
        self._tensors = [field for field in fields if field.kind == "tensor"]
        self._rows: list[Row] = []
        self._places: list[dict[str, StoredTensor]] = []
        self._datasets: dict[str, h5py.Dataset] = {}
        self._ends: dict[str, int] = {}

    @property
    def num_rows(self) -> int:
        """Number of rows so far."""
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Write a row.

        Raises:
            ShardError: It lacks a field.
        """
        _check_fields(row, fields=self._fields)
        stored = {} if row.reject_reason else {f.name: self._store(row.values[f.name], field=f) for f in self._tensors}
        row = replace(row, values={**row.values, **stored})
        digest = row.digest or build_row_digest(row, fields=self._fields)
        light = {name: value for name, value in row.values.items() if name not in stored}
        self._places.append(stored)
        self._rows.append(replace(row, values=light, digest=digest))

    def _store(self, value: Any, *, field: Field) -> StoredTensor:
        # Each row fills whole chunks, so that chunks can be copied to another shard.
        shape = tuple(value.shape)
        name = f"tensor/{field.name}/{name_shape(shape[1:])}"
        if name not in self._datasets:
            self._datasets[name] = _create_tensor(self._file, name, field=field, item_shape=shape[1:])
        dataset, size = self._datasets[name], chunk_items(np.dtype(field.dtype), shape[1:])
        start = self._ends.get(name, 0)
        self._ends[name] = start + -(-shape[0] // size) * size
        if shape[0]:
            dataset.resize((self._ends[name], *shape[1:]))
            _write_tensor(dataset, value, start=start, size=size)
        return StoredTensor(dataset=dataset, chunk_items=size, start=start, shape=shape)

    def finish(self) -> None:
        """Write everything but the tensors."""
        _write_table(self._file, rows=self._rows)
        for field in self._fields:
            if field.kind == "tensor":
                self._write_places(field.name)
            else:
                _WRITERS[field.kind](self._file, field, self._rows)

    def _write_places(self, name: str) -> None:
        places = [place.get(name) for place in self._places]
        num_axes = max((len(place.shape) for place in places if place), default=1)
        shapes = [place.shape if place else (0,) * num_axes for place in places]
        self._file.create_dataset(f"starts/{name}", data=np.array([p.start if p else 0 for p in places], np.int64))
        self._file.create_dataset(f"shapes/{name}", data=np.array(shapes, np.int64).reshape(-1, num_axes))


def _write_header(file: h5py.File, *, header: ShardHeader, fields: Sequence[Field]) -> None:
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["extractor_version"] = header.extractor_version
    _write_attribute(file, "format", "moclip-shard")
    _write_attribute(file, "extractor", header.extractor)
    _write_attribute(file, "parameters", json.dumps(header.parameters, sort_keys=True))
    _write_attribute(file, "provenance", json.dumps(header.provenance, sort_keys=True))
    _write_attribute(file, "signature", header.signature)
    _write_attribute(file, "fields", json.dumps([list(vars(field).values()) for field in fields]))


def _write_attribute(file: h5py.File, name: str, text: str) -> None:
    # Of a length of its own, as `_write_texts` does: HDF5 keeps other texts in a heap without a checksum, and it never
    # ends reading some heaps that are damaged.
    data = text.encode()
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))


def _write_table(file: h5py.File, *, rows: Sequence[Row]) -> None:
    ids = [row.video_id for row in rows]
    columns = {
        "video_id": ids,
        "row_key": [row.row_key for row in rows],
        "reject_reason": [row.reject_reason for row in rows],
        "reject_detail": [row.reject_detail for row in rows],
        "digest": [row.digest for row in rows],
    }
    for name, values in columns.items():
        _write_texts(file, name, values)
    _write_attribute(file, "content", build_digest(ids, columns["digest"]))


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    # Of one length, which HDF5 keeps in less room than texts of their own lengths each.
    encoded = [text.encode() for text in texts]
    length = max((len(text) for text in encoded), default=0)
    dtype = h5py.string_dtype("utf-8", max(1, length))
    file.create_dataset(name, data=np.array(encoded, dtype=dtype), dtype=dtype)


def _create_tensor(file: h5py.File, name: str, *, field: Field, item_shape: tuple[int, ...]) -> h5py.Dataset:
    dtype = np.dtype(field.dtype)
    dataset = file.create_dataset(
        name,
        shape=(0, *item_shape),
        maxshape=(None, *item_shape),
        dtype=dtype,
        chunks=(chunk_items(dtype, item_shape), *item_shape),
        compression=COMPRESSION,
        fillvalue=field.mask_value,
    )
    if field.mask_value is not None:
        dataset.attrs["mask_value"] = dtype.type(field.mask_value)
    return dataset


def _write_tensor(dataset: h5py.Dataset, value: Any, *, start: int, size: int) -> None:
    if isinstance(value, StoredTensor):
        for at, (filter_mask, chunk) in zip(count(start, size), value.chunks(), strict=False):
            dataset.id.write_direct_chunk((at, *[0] * (len(value.shape) - 1)), chunk, filter_mask)
        return
    for block in value.blocks(_CHUNKS_AT_ONCE * size) if isinstance(value, Spool) else (value,):
        dataset[start : start + len(block)] = block
        start += len(block)


def _check_fields(row: Row, *, fields: Sequence[Field]) -> None:
    for field in fields:
        if not row.reject_reason and field.name not in row.values:
            raise ShardError(f"video {row.video_id}: the extractor gave no field `{field.name}`; expected one")


def _values_of(field: Field, rows: Sequence[Row]) -> list[Value | None]:
    return [None if row.reject_reason else row.values[field.name] for row in rows]


def _write_packed(file: h5py.File, field: Field, rows: Sequence[Row]) -> None:
    arrays = [None if value is None else np.asarray(value, field.dtype) for value in _values_of(field, rows)]
    present = [array for array in arrays if array is not None]
    tails = {array.shape[1:] for array in present}
    if len(tails) > 1:
        raise ShardError(f"field `{field.name}`: expected one tail shape in a shard, found {sorted(tails)}")
    lengths = [0 if array is None else len(array) for array in arrays]
    data = np.concatenate(present) if present else np.empty((0,), field.dtype)
    file.create_dataset(f"packed/{field.name}", data=data)
    file.create_dataset(f"offsets/{field.name}", data=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _write_scalar(file: h5py.File, field: Field, rows: Sequence[Row]) -> None:
    values = _values_of(field, rows)
    if field.dtype == "text":
        _write_texts(file, f"scalar/{field.name}", ["" if value is None else str(value) for value in values])
    else:
        file.create_dataset(
            f"scalar/{field.name}", data=np.array([0 if v is None else v for v in values], dtype=field.dtype)
        )


_WRITERS = {"packed": _write_packed, "scalar": _write_scalar}
