"""Read shards."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import (
    FORMAT_VERSION,
    READABLE_VERSIONS,
    Field,
    Row,
    StoredTensor,
    Value,
    build_row_digest,
    build_signature,
    name_shape,
    start_reject_digest,
)
from moclip.core.digests import build_digest
from moclip.errors import ShardError

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


# Ends the message about a damaged file that a job made.
REMEDY = "run again, which makes it again"

_FIELD = ("name", "kind", "dtype", "mask_value")


def _read_attribute(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


class Shard:
    """An open shard; a context manager. Readers take no lock, since a shard is replaced and never changed."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its table.

        Raises:
            ShardError: The file is missing, is no shard, is damaged, or has another format version.
        """
        self.path = path
        self._columns: dict[str, NDArray[Any]] = {}
        self._tensors: dict[str, tuple[h5py.Dataset, int]] = {}
        try:
            self._file = h5py.File(path, "r", locking=False)
            self._read_table()
        except FileNotFoundError:
            raise ShardError(f"{path}: no such shard; {REMEDY}", damaged=path) from None
        except ShardError:
            self._close_quietly()
            raise
        except PermissionError:
            raise ShardError(f"{path}: permission denied; ask its owner to give you access") from None
        except DAMAGE as error:
            self._close_quietly()
            raise ShardError(
                f"{path}: expected a shard, found a damaged file ({_first_line(error)}); {REMEDY}", damaged=path
            ) from None

    def _read_table(self) -> None:
        version = int(self._file.attrs["format_version"])
        if version not in READABLE_VERSIONS:
            raise self._other_format(version)
        self.signature, self.content, self.extractor = (
            _read_attribute(self._file, name) for name in ("signature", "content", "extractor")
        )
        self.extractor_version = int(self._file.attrs["extractor_version"])
        self.parameters: dict[str, Any] = json.loads(_read_attribute(self._file, "parameters"))
        self.provenance: dict[str, Any] = json.loads(_read_attribute(self._file, "provenance"))
        fields = json.loads(_read_attribute(self._file, "fields"))
        if any(kind == "bytes" for _, kind, *_ in fields):
            raise self._other_format(version)
        self.fields = tuple(Field(**dict(zip(_FIELD, field, strict=False))) for field in fields)
        self.video_ids = self._texts("video_id")
        self.row_keys = self._texts("row_key")
        self.reject_reasons = self._texts("reject_reason")
        self.reject_details = self._texts("reject_detail")
        self.digests = self._texts("digest")
        self._index = {video_id: index for index, video_id in enumerate(self.video_ids)}
        self._check_table()

    def _other_format(self, version: int) -> ShardError:
        expected = f"expected shard format {FORMAT_VERSION}, found {version}"
        return ShardError(f"{self.path}: {expected}; {REMEDY}", damaged=self.path)

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
            if reason and digest != start_reject_digest(reason, detail).hexdigest():
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

    def read_row_at(self, index: int, *, check: bool = True, load: bool = True) -> Row:
        """Return the row at a place in the table, as `read_row` does; without `load`, its tensors stay stored."""
        try:
            row = self._read_row(index)
            if check and build_row_digest(row, fields=self.fields) != row.digest:
                raise self._damaged(index, "its data does not match its digest")
            return _load(row) if load else row
        except ShardError:
            raise
        except DAMAGE as error:
            raise self._damaged(index, _first_line(error)) from None

    def check_rows(self) -> None:
        """Compare every row with its digest.

        Raises:
            ShardError: A row is damaged.
        """
        for index in range(len(self.video_ids)):
            self.read_row_at(index, load=False)

    def build_signature(self) -> str:
        """Return the signature that belongs to the extractor, parameters, ids and row keys in the file."""
        rows = zip(self.video_ids, self.row_keys, strict=True)
        return build_signature(
            extractor=self.extractor, version=self.extractor_version, parameters=self.parameters, rows=rows
        )

    def _read_row(self, index: int) -> Row:
        reason = self.reject_reasons[index]
        values = {} if reason else {field.name: self._read_value(field, index) for field in self.fields}
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
            f"{self.path}: the row of video {self.video_ids[index]} is damaged ({what}); {REMEDY}", damaged=self.path
        )

    def _read_value(self, field: Field, index: int) -> Value:
        if field.kind == "tensor":
            shape = tuple(self._column(field, of="shapes")[index].tolist())
            dataset, chunk_items = self._tensor(f"tensor/{field.name}/{name_shape(shape[1:])}")
            start = int(self._column(field, of="starts")[index])
            return StoredTensor(dataset=dataset, chunk_items=chunk_items, start=start, shape=shape)
        column = self._column(field)
        if field.kind == "packed":
            start, stop = self._column(field, of="offsets")[index : index + 2]
            return column[start:stop]
        return str(column[index]) if field.dtype == "text" else _as_scalar(column[index])

    def _tensor(self, name: str) -> tuple[h5py.Dataset, int]:
        if name not in self._tensors:
            dataset = self._file[name]
            self._tensors[name] = dataset, dataset.chunks[0]
        return self._tensors[name]

    def _column(self, field: Field, *, of: str = "") -> NDArray[Any]:
        # Packed and scalar fields are small: one read of the whole column serves every row of it.
        name = f"{of or field.kind}/{field.name}"
        if name not in self._columns:
            stored = self._file[name]
            self._columns[name] = np.asarray((stored.asstr() if field.dtype == "text" else stored)[...])
        return self._columns[name]


def _first_line(error: BaseException) -> str:
    return f"{error}".partition("\n")[0] or type(error).__name__


def _load(row: Row) -> Row:
    tensors = {name: value.read() for name, value in row.values.items() if isinstance(value, StoredTensor)}
    return replace(row, values={**row.values, **tensors}) if tensors else row


def _as_scalar(value: np.generic) -> Value:
    scalar: Value = value.item()
    return scalar
