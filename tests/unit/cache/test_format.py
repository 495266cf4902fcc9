"""What a shard holds comes back as it was, whatever its size and wherever its bytes came from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from moclip.cache.format import CHUNK_BYTES, Field, Row, ShardHeader, Value
from moclip.cache.reader import Shard
from moclip.cache.writer import write_shard
from moclip.core import spool
from moclip.core.spool import Spool
from moclip.errors import ShardError

FIELDS = (Field(name="vectors", kind="bytes", dtype="uint8"), Field(name="note", kind="scalar", dtype="text"))
HEADER = ShardHeader(extractor="test", extractor_version=1, parameters={}, signature="s", provenance={})
SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5)


def some_bytes(size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(size).integers(0, 7, size).astype(np.uint8)


def spooled(data: NDArray[np.uint8], *, step: int = 1000) -> Spool:
    filled = Spool()
    for start in range(0, len(data), step):
        filled.append(data[start : start + step])
    return filled


def rows_of(values: Sequence[Value]) -> list[Row]:
    return [
        Row(video_id=f"v{index}", row_key=f"k{index}", values={"vectors": value, "note": "é" * index})
        for index, value in enumerate(values)
    ]


def write(path: Path, rows: Sequence[Row]) -> Path:
    write_shard(path, rows=rows, fields=FIELDS, header=HEADER)
    return path


def test_bytes_and_texts_of_every_length_come_back(tmp_path: Path) -> None:
    with Shard(write(tmp_path / "a.h5", rows_of([some_bytes(size) for size in SIZES]))) as shard:
        for index, size in enumerate(SIZES):
            row = shard.read_row(f"v{index}")
            np.testing.assert_array_equal(row.values["vectors"], some_bytes(size))
            assert row.values["note"] == "é" * index


@pytest.mark.parametrize("memory_bytes", [0, 10_000, 2**30])
def test_spooled_bytes_give_the_same_file_as_bytes_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    monkeypatch.setattr(spool, "_MEMORY_BYTES", memory_bytes)
    plain = write(tmp_path / "a.h5", rows_of([some_bytes(size) for size in SIZES]))
    other = write(tmp_path / "b.h5", rows_of([spooled(some_bytes(size)) for size in SIZES]))
    assert plain.read_bytes() == other.read_bytes()
    np.testing.assert_array_equal(spooled(some_bytes(25_000)).read(), some_bytes(25_000))


def test_rows_copied_from_another_shard_keep_their_bytes_and_digest(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5", rows_of([some_bytes(size) for size in SIZES]))
    with Shard(first) as shard:
        copied = [shard.read_row_at(index, load_bytes=False) for index in (5, 0, 3)]
        second = write(tmp_path / "b.h5", [replace(row, video_id=f"w{row.video_id}") for row in copied])
    with Shard(second) as shard:
        for index in (5, 0, 3):
            np.testing.assert_array_equal(shard.read_row(f"wv{index}").values["vectors"], some_bytes(SIZES[index]))


def test_bytes_that_changed_on_the_disk_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", rows_of([some_bytes(5000)]))
    with h5py.File(path, "r+") as file:
        file["bytes/vectors"][4000] += 1
    with Shard(path) as shard:
        for load_bytes in (True, False):
            with pytest.raises(ShardError, match="v0 is damaged"):
                shard.read_row_at(0, load_bytes=load_bytes)


def test_a_shard_of_the_first_format_is_read_and_one_of_a_later_format_is_not(tmp_path: Path) -> None:
    fields = FIELDS[1:]
    rows = [Row(video_id="v", row_key="k", values={"note": "as it was"})]
    write_shard(tmp_path / "a.h5", rows=rows, fields=fields, header=HEADER)
    for version in (1, 3):
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file.attrs["format_version"] = version
        if version == 1:
            with Shard(tmp_path / "a.h5") as shard:
                assert shard.read_row("v").values["note"] == "as it was"
        else:
            with pytest.raises(ShardError, match="found 3"):
                Shard(tmp_path / "a.h5")
