"""A shard: one HDF5 file that holds the rows of some videos from one extractor. The only module that opens HDF5.

Layout (`docs/formats.md` has the table)::

    attributes   format, format_version, extractor, extractor_version, parameters (JSON), provenance (JSON), signature,
                 content (digest over ids and row digests), fields (JSON)
    video_id     (N,) text            row_key       (N,) text, what the row was computed from
    reject_reason, reject_detail      (N,) text, empty where the video has features
    digest       (N,) text, of the row's data
    packed/F     rows concatenated along axis 0, with offsets/F (N + 1,) int64
    scalar/F     (N,) one value a row
    blob/I/F     the array of row I as a data set of its own, compressed

A file is written whole under a unique name, flushed to the disk, and renamed: what is half written is never read.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from moclip.errors import ShardError
from moclip.files import replace_atomically

FORMAT_VERSION = 1
CHUNK_BYTES = 4 * 2**20

Value = NDArray[Any] | str | int | float | bool
Kind = Literal["packed", "scalar", "blob"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """How one field of a row is stored.

    `packed`: arrays of any length along axis 0 and one common tail shape; read all at once in one go.
    `scalar`: one number or text a row. `blob`: an array of any shape, compressed, read row by row.
    """

    name: str
    kind: Kind
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The features of one video from one extractor, or the reason why there are none."""

    video_id: str
    row_key: str
    values: Mapping[str, Value]
    reject_reason: str = ""
    reject_detail: str = ""


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """What a shard says of itself; `provenance` informs and takes no part in any key."""

    extractor: str
    extractor_version: int
    parameters: Mapping[str, Any]
    signature: str
    provenance: Mapping[str, Any]


def build_digest(*parts: Any) -> str:
    """Return 32 hex digits of a BLAKE2b digest over the parts as sorted JSON."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def build_row_digest(row: Row, *, fields: Sequence[Field]) -> str:
    """Return 32 hex digits over the row's data: every field's name, type, shape and bytes, or the reason."""
    digest = blake2b(f"{row.reject_reason}\0{row.reject_detail}\0".encode(), digest_size=16)
    for field in fields:
        if field.name in row.values:
            digest.update(_as_bytes(row.values[field.name], field=field))
    return digest.hexdigest()


def _as_bytes(value: Value, *, field: Field) -> bytes:
    if field.dtype == "text":
        return f"{field.name}\0{value}\0".encode()
    array = np.ascontiguousarray(value, dtype=field.dtype)
    return f"{field.name}\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes()


def write_shard(path: Path, *, rows: Iterable[Row], fields: Sequence[Field], header: ShardHeader) -> None:
    """Write the rows, in the order given, and rename the file into place.

    Rows are taken one by one and their blobs written at once, so that memory does not grow with the shard.

    Raises:
        ShardError: A row lacks a field or has one of another type or tail shape.
    """
    with replace_atomically(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        _write_header(file, header=header, fields=fields)
        light: list[Row] = []
        digests: list[str] = []
        for index, row in enumerate(rows):
            digests.append(build_row_digest(row, fields=fields))
            light.append(_write_blobs(file, row, index=index, fields=fields))
        _write_table(file, rows=light, digests=digests)
        for field in fields:
            if field.kind != "blob":
                _WRITERS[field.kind](file, field, light)


def _write_header(file: h5py.File, *, header: ShardHeader, fields: Sequence[Field]) -> None:
    file.attrs["format"] = "moclip-shard"
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["extractor"] = header.extractor
    file.attrs["extractor_version"] = header.extractor_version
    file.attrs["parameters"] = json.dumps(header.parameters, sort_keys=True)
    file.attrs["provenance"] = json.dumps(header.provenance, sort_keys=True)
    file.attrs["signature"] = header.signature
    file.attrs["fields"] = json.dumps([[field.name, field.kind, field.dtype] for field in fields])


def _write_table(file: h5py.File, *, rows: Sequence[Row], digests: Sequence[str]) -> None:
    ids = [row.video_id for row in rows]
    columns = {
        "video_id": ids,
        "row_key": [row.row_key for row in rows],
        "reject_reason": [row.reject_reason for row in rows],
        "reject_detail": [row.reject_detail for row in rows],
        "digest": digests,
    }
    for name, values in columns.items():
        file.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype(), shape=(len(rows),))
    file.attrs["content"] = build_digest(ids, list(digests))


def _write_blobs(file: h5py.File, row: Row, *, index: int, fields: Sequence[Field]) -> Row:
    _check_fields(row, fields=fields)
    blobs = {field.name: field.dtype for field in fields if field.kind == "blob" and field.name in row.values}
    for name, dtype in blobs.items():
        array = np.asarray(row.values[name], dtype=dtype)
        if array.size == 0:
            file.create_dataset(f"blob/{index:06d}/{name}", data=array)
        else:
            options = {"chunks": _chunk_shape(array), "shuffle": True, "compression": hdf5plugin.Zstd(3)}
            file.create_dataset(f"blob/{index:06d}/{name}", data=array, **options)
    return replace(row, values={name: value for name, value in row.values.items() if name not in blobs})


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
        data = np.array(["" if value is None else value for value in values], dtype=object)
        file.create_dataset(f"scalar/{field.name}", data=data, dtype=h5py.string_dtype(), shape=(len(rows),))
    else:
        file.create_dataset(
            f"scalar/{field.name}", data=np.array([0 if v is None else v for v in values], dtype=field.dtype)
        )


def _chunk_shape(array: NDArray[Any]) -> tuple[int, ...]:
    # Whole frames up to a bound: one chunk for a usual video, a few for a long one, whose reading then stays bounded.
    length = max(1, min(len(array), CHUNK_BYTES // max(1, array[:1].nbytes)))
    return (length, *array.shape[1:])


_WRITERS = {"packed": _write_packed, "scalar": _write_scalar}


class Shard:
    """An open shard; a context manager. Readers take no lock, since a shard is replaced and never changed."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its table.

        Raises:
            ShardError: The file is missing, is no shard, is damaged, or has another format version.
        """
        self.path = path
        self._columns: dict[str, NDArray[Any]] = {}
        try:
            self._file = h5py.File(path, "r", locking=False)
            self._read_table()
        except FileNotFoundError:
            raise ShardError(f"{path}: no such shard; run the workflow again to build it") from None
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise ShardError(
                f"{path}: expected a shard, found a damaged file ({error}); delete it and run again"
            ) from None

    def _read_table(self) -> None:
        attributes = self._file.attrs
        version = int(attributes["format_version"])
        if version != FORMAT_VERSION:
            raise ShardError(
                f"{self.path}: expected shard format {FORMAT_VERSION}, found {version}; delete it and run again"
            )
        self.signature = str(attributes["signature"])
        self.content = str(attributes["content"])
        self.extractor = str(attributes["extractor"])
        self.parameters: dict[str, Any] = json.loads(attributes["parameters"])
        self.provenance: dict[str, Any] = json.loads(attributes["provenance"])
        self.fields = tuple(Field(name=n, kind=k, dtype=d) for n, k, d in json.loads(attributes["fields"]))
        self.video_ids = self._texts("video_id")
        self.row_keys = self._texts("row_key")
        self.reject_reasons = self._texts("reject_reason")
        self.reject_details = self._texts("reject_detail")
        self.digests = self._texts("digest")
        self._index = {video_id: index for index, video_id in enumerate(self.video_ids)}

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._file[name].asstr()[...].tolist())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._index

    def read_row(self, video_id: str, *, check: bool = True) -> Row:
        """Return the row of a video; with `check`, its data is compared with its digest.

        Raises:
            ShardError: The shard has no such video, or the row is damaged.
        """
        if video_id not in self._index:
            raise ShardError(f"{self.path}: no row for video {video_id}; run the workflow again")
        return self.read_row_at(self._index[video_id], check=check)

    def read_row_at(self, index: int, *, check: bool = True) -> Row:
        """Return the row at a place in the table, as `read_row` does."""
        reason = self.reject_reasons[index]
        try:
            values = {} if reason else {field.name: self._read_value(field, index) for field in self.fields}
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise self._damaged(index, str(error)) from None
        row = Row(
            video_id=self.video_ids[index],
            row_key=self.row_keys[index],
            values=values,
            reject_reason=reason,
            reject_detail=self.reject_details[index],
        )
        if check and build_row_digest(row, fields=self.fields) != self.digests[index]:
            raise self._damaged(index, "its data does not match its digest")
        return row

    def _damaged(self, index: int, what: str) -> ShardError:
        return ShardError(
            f"{self.path}: the row of video {self.video_ids[index]} is damaged ({what}); delete the shard and run again"
        )

    def _read_value(self, field: Field, index: int) -> Value:
        if field.kind == "blob":
            return np.asarray(self._file[f"blob/{index:06d}/{field.name}"][...])
        column = self._column(field)
        if field.kind == "packed":
            start, stop = self._column(field, of="offsets")[index : index + 2]
            return column[start:stop]
        return str(column[index]) if field.dtype == "text" else _as_scalar(column[index])

    def _column(self, field: Field, *, of: str = "") -> NDArray[Any]:
        # Packed and scalar fields are small beside blobs: one read of the whole column serves every row of it.
        name = f"{of or field.kind}/{field.name}"
        if name not in self._columns:
            stored = self._file[name]
            self._columns[name] = np.asarray((stored.asstr() if field.dtype == "text" else stored)[...])
        return self._columns[name]


def _as_scalar(value: np.generic) -> Value:
    scalar: Value = value.item()
    return scalar
