"""A shard: one HDF5 file that holds the rows of some videos from one extractor. The only module that opens HDF5.

Layout (`docs/formats.md` has the table)::

    attributes   format, format_version, extractor, extractor_version, parameters (JSON), provenance (JSON), signature,
                 content (digest over ids and row digests), fields (JSON)
    video_id     (N,) text            row_key       (N,) text, what the row was computed from
    reject_reason, reject_detail      (N,) text, empty where the video has features
    digest       (N,) text, of the row's data
    packed/F     rows concatenated along axis 0, with offsets/F (N + 1,) int64
    scalar/F     (N,) one value a row
    bytes/F      the bytes of all rows, compressed in chunks, none of which is shared by two rows;
                 starts/F and sizes/F (N,) int64 say where those of each row lie

A file is written whole under a unique name, flushed to the disk, and renamed: what is half written is never read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from moclip.spool import Spool

FORMAT_VERSION = 2
# Part of the format: chunks are copied from shard to shard as they are.
CHUNK_BYTES = 2**17
# Version 1 had another way to store bytes, and no field of today was stored so.
_READABLE_VERSIONS = (1, FORMAT_VERSION)

# What h5py, numpy and json raise at a file that is damaged, foreign, or made to mislead.
DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)

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
    """Bytes of a row that lie in an open shard, not read yet."""

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


def build_digest(*parts: Any) -> str:
    """Return 32 hex digits of a BLAKE2b digest over the parts as sorted JSON."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def build_row_digest(row: Row, *, fields: Sequence[Field]) -> str:
    """Return 32 hex digits over the row's data: every field's name, type, shape and bytes, or the reason."""
    digest = _reject_digest(row.reject_reason, row.reject_detail)
    for field in fields:
        if field.name in row.values:
            for part in _digested(row.values[field.name], field=field):
                digest.update(part)
    return digest.hexdigest()


def _reject_digest(reason: str, detail: str) -> blake2b:
    # All of the digest of a rejected row, which has no values; its beginning in any other.
    return blake2b(f"{reason}\0{detail}\0".encode(), digest_size=16)


def _digested(value: Any, *, field: Field) -> Iterator[bytes | memoryview]:
    if field.dtype == "text":
        yield f"{field.name}\0{value}\0".encode()
    elif field.kind == "bytes":
        yield f"{field.name}\0bytes\0{_num_bytes(value)}\0".encode()
        yield from (block.data for block in _blocks(value))
    else:
        array = np.ascontiguousarray(value, dtype=field.dtype)
        yield f"{field.name}\0{array.dtype.str}\0{array.shape}\0".encode()
        yield array.tobytes()


def _num_bytes(value: Bytes) -> int:
    return len(value) if isinstance(value, np.ndarray) else value.num_bytes


def _blocks(value: Bytes) -> Iterator[NDArray[np.uint8]]:
    if isinstance(value, np.ndarray):
        return (value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES))
    return value.blocks(CHUNK_BYTES)


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
    """A shard that is being written. Bytes go to the disk as rows come: memory does not grow with their number."""

    def __init__(self, file: h5py.File, *, fields: Sequence[Field]) -> None:
        """Take the open file, and the fields of its rows."""
        self._file, self._fields = file, fields
        self._rows: list[Row] = []
        self._datasets = {field.name: _create_bytes(file, field.name) for field in fields if field.kind == "bytes"}
        self._places: list[dict[str, tuple[int, int]]] = []
        self._ends = dict.fromkeys(self._datasets, 0)

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
        digest = row.digest or build_row_digest(row, fields=self._fields)
        self._places.append({name: self._write_bytes(name, row.values.get(name)) for name in self._datasets})
        light = {name: value for name, value in row.values.items() if name not in self._datasets}
        self._rows.append(replace(row, values=light, digest=digest))

    def _write_bytes(self, name: str, value: Any) -> tuple[int, int]:
        # Returns where they start and how many they are. Each row fills whole chunks, the last one with zeros.
        start, number = self._ends[name], 0 if value is None else _num_bytes(value)
        if number:
            self._ends[name] += -(-number // CHUNK_BYTES) * CHUNK_BYTES
            dataset = self._datasets[name]
            dataset.resize((self._ends[name],))
            if isinstance(value, StoredBytes):
                _copy_chunks(value, dataset, start=start)
            else:
                for at, block in zip(range(start, start + number, CHUNK_BYTES), _blocks(value), strict=True):
                    dataset[at : at + len(block)] = block
        return start, number

    def finish(self) -> None:
        """Write all but the bytes."""
        _write_table(self._file, rows=self._rows)
        for field in self._fields:
            if field.kind == "bytes":
                places = np.array([place[field.name] for place in self._places], np.int64).reshape(-1, 2)
                self._file.create_dataset(f"starts/{field.name}", data=places[:, 0])
                self._file.create_dataset(f"sizes/{field.name}", data=places[:, 1])
            else:
                _WRITERS[field.kind](self._file, field, self._rows)


def _write_header(file: h5py.File, *, header: ShardHeader, fields: Sequence[Field]) -> None:
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["extractor_version"] = header.extractor_version
    _write_attribute(file, "format", "moclip-shard")
    _write_attribute(file, "extractor", header.extractor)
    _write_attribute(file, "parameters", json.dumps(header.parameters, sort_keys=True))
    _write_attribute(file, "provenance", json.dumps(header.provenance, sort_keys=True))
    _write_attribute(file, "signature", header.signature)
    _write_attribute(file, "fields", json.dumps([[field.name, field.kind, field.dtype] for field in fields]))


def _write_attribute(file: h5py.File, name: str, text: str) -> None:
    # Of a length of its own, as `_write_texts` does: HDF5 keeps other texts in a heap without a checksum, and it never
    # ends reading some heaps that are damaged.
    data = text.encode()
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))


def _read_attribute(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


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


def _create_bytes(file: h5py.File, name: str) -> h5py.Dataset:
    return file.create_dataset(
        f"bytes/{name}",
        shape=(0,),
        maxshape=(None,),
        dtype=np.uint8,
        chunks=(CHUNK_BYTES,),
        compression=hdf5plugin.Zstd(clevel=1),
    )


def _copy_chunks(value: StoredBytes, dataset: h5py.Dataset, *, start: int) -> None:
    source, target = value.dataset.id, dataset.id
    for offset in range(0, value.num_bytes, CHUNK_BYTES):
        filters, chunk = source.read_direct_chunk((value.start + offset,))
        target.write_direct_chunk((start + offset,), chunk, filters)


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
        except ShardError:
            self._close_quietly()
            raise
        except DAMAGE as error:
            self._close_quietly()
            raise ShardError(
                f"{path}: expected a shard, found a damaged file ({_first_line(error)}); delete it and run again"
            ) from None

    def _read_table(self) -> None:
        version = int(self._file.attrs["format_version"])
        if version not in _READABLE_VERSIONS:
            raise ShardError(
                f"{self.path}: expected shard format {FORMAT_VERSION}, found {version}; delete it and run again"
            )
        self.signature, self.content, self.extractor = (
            _read_attribute(self._file, name) for name in ("signature", "content", "extractor")
        )
        self.extractor_version = int(self._file.attrs["extractor_version"])
        self.parameters: dict[str, Any] = json.loads(_read_attribute(self._file, "parameters"))
        self.provenance: dict[str, Any] = json.loads(_read_attribute(self._file, "provenance"))
        fields = json.loads(_read_attribute(self._file, "fields"))
        self.fields = tuple(Field(name=n, kind=k, dtype=d) for n, k, d in fields)
        self._bytes = {field.name: self._file[f"bytes/{field.name}"] for field in self.fields if field.kind == "bytes"}
        self.video_ids = self._texts("video_id")
        self.row_keys = self._texts("row_key")
        self.reject_reasons = self._texts("reject_reason")
        self.reject_details = self._texts("reject_detail")
        self.digests = self._texts("digest")
        self._index = {video_id: index for index, video_id in enumerate(self.video_ids)}
        self._check_table()

    def _check_table(self) -> None:
        # A row's digest says nothing of its video, nor of a reason that was lost: two flipped bytes would give the
        # features of one video to another, or make a reject of a sound row, and no reader of features would notice.
        columns = (self.row_keys, self.reject_reasons, self.reject_details, self.digests)
        if any(len(column) != len(self.video_ids) for column in columns) or len(self._index) != len(self.video_ids):
            raise ValueError("its columns do not belong together")
        if self.content != build_digest(self.video_ids, self.digests):
            raise ValueError("its ids and digests are not those that were written")
        for video_id, reason, detail, digest in zip(
            self.video_ids, self.reject_reasons, self.reject_details, self.digests, strict=True
        ):
            if reason and digest != _reject_digest(reason, detail).hexdigest():
                raise ValueError(f"the reason why video {video_id} was rejected is not the one that was written")

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._file[name].asstr()[...].tolist())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _close_quietly(self) -> None:
        with suppress(AttributeError, *DAMAGE):
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

    def read_row_at(self, index: int, *, check: bool = True, load_bytes: bool = True) -> Row:
        """Return the row at a place in the table, as `read_row` does; without `load_bytes`, its bytes stay stored."""
        try:
            row = self._read_row(index, load_bytes=load_bytes)
            found = build_row_digest(row, fields=self.fields) if check else row.digest
        except DAMAGE as error:
            raise self._damaged(index, _first_line(error)) from None
        if found != row.digest:
            raise self._damaged(index, "its data does not match its digest")
        return row

    def _read_row(self, index: int, *, load_bytes: bool) -> Row:
        reason = self.reject_reasons[index]
        values = {} if reason else {field.name: self._read_value(field, index) for field in self.fields}
        if load_bytes:
            values |= {name: _load(value) for name, value in values.items() if isinstance(value, StoredBytes)}
        return Row(
            video_id=self.video_ids[index],
            row_key=self.row_keys[index],
            values=values,
            reject_reason=reason,
            reject_detail=self.reject_details[index],
            digest=self.digests[index],
        )

    def _damaged(self, index: int, what: str) -> ShardError:
        return ShardError(
            f"{self.path}: the row of video {self.video_ids[index]} is damaged ({what}); delete the shard and run again"
        )

    def _read_value(self, field: Field, index: int) -> Value:
        if field.kind == "bytes":
            start, size = (int(self._column(field, of=of)[index]) for of in ("starts", "sizes"))
            return StoredBytes(dataset=self._bytes[field.name], start=start, num_bytes=size)
        column = self._column(field)
        if field.kind == "packed":
            start, stop = self._column(field, of="offsets")[index : index + 2]
            return column[start:stop]
        return str(column[index]) if field.dtype == "text" else _as_scalar(column[index])

    def _column(self, field: Field, *, of: str = "") -> NDArray[Any]:
        # Packed and scalar fields are small: one read of the whole column serves every row of it.
        name = f"{of or field.kind}/{field.name}"
        if name not in self._columns:
            stored = self._file[name]
            self._columns[name] = np.asarray((stored.asstr() if field.dtype == "text" else stored)[...])
        return self._columns[name]


def _first_line(error: BaseException) -> str:
    return f"{error}".partition("\n")[0] or type(error).__name__


def _load(value: StoredBytes) -> NDArray[np.uint8]:
    whole = np.empty(value.num_bytes, np.uint8)
    if value.num_bytes:
        value.dataset.read_direct(whole, np.s_[value.start : value.start + value.num_bytes])
    return whole


def _as_scalar(value: np.generic) -> Value:
    scalar: Value = value.item()
    return scalar
