"""What a shard holds comes back as it was, whatever its size and wherever its bytes came from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from moclip.cache.format import Field, Row, ShardHeader, Value, chunk_items
from moclip.cache.reader import Shard
from moclip.cache.writer import write_shard
from moclip.core import spool
from moclip.core.spool import Spool
from moclip.errors import ShardError

MASK = -32768
FIELDS = (
    Field(name="vectors", kind="tensor", dtype="int16", mask_value=MASK),
    Field(name="note", kind="scalar", dtype="text"),
)
HEADER = ShardHeader(extractor="test", extractor_version=1, parameters={}, signature="s", provenance={})
CHUNK = chunk_items(np.dtype(np.int16), (6, 8, 2))
SHAPES = (
    (0, 6, 8, 2),
    (1, 6, 8, 2),
    (CHUNK - 1, 4, 8, 2),
    (CHUNK, 6, 8, 2),
    (CHUNK + 1, 6, 8, 2),
    (3 * CHUNK, 4, 8, 2),
)


def some_vectors(shape: Sequence[int]) -> NDArray[np.int16]:
    return np.random.default_rng(shape[0]).integers(-300, 300, shape).astype(np.int16)


def spooled(data: NDArray[np.int16], *, step: int = 7) -> Spool:
    filled = Spool(dtype=data.dtype, item_shape=data.shape[1:])
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


def test_tensors_and_texts_of_every_size_come_back(tmp_path: Path) -> None:
    with Shard(write(tmp_path / "a.h5", rows_of([some_vectors(shape) for shape in SHAPES]))) as shard:
        for index, shape in enumerate(SHAPES):
            row = shard.read_row(f"v{index}")
            np.testing.assert_array_equal(row.values["vectors"], some_vectors(shape), strict=True)
            assert row.values["note"] == "é" * index


def test_the_frames_of_videos_of_one_size_can_be_sliced_by_anyone(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", rows_of([some_vectors(shape) for shape in SHAPES]))
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file["tensor/vectors"]) == ["4x8x2", "6x8x2"]
        for index, shape in enumerate(SHAPES):
            dataset = file[f"tensor/vectors/{shape[1]}x8x2"]
            assert file["shapes/vectors"][index].tolist() == list(shape)
            start = file["starts/vectors"][index]
            np.testing.assert_array_equal(dataset[start : start + shape[0]], some_vectors(shape))
            assert dataset.attrs["mask_value"] == MASK
            gap = dataset[start + shape[0] : start + -(-shape[0] // CHUNK) * CHUNK]
            assert (gap == MASK).all(), "between videos there is no value"


@pytest.mark.parametrize("memory_bytes", [0, 10_000, 2**30])
def test_a_spooled_tensor_gives_the_same_file_as_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    monkeypatch.setattr(spool, "_MEMORY_BYTES", memory_bytes)
    plain = write(tmp_path / "a.h5", rows_of([some_vectors(shape) for shape in SHAPES]))
    for step in (1, 7, 1000):
        filled = [spooled(some_vectors(shape), step=step) for shape in SHAPES]
        assert plain.read_bytes() == write(tmp_path / "b.h5", rows_of(filled)).read_bytes()
        for shape, one in zip(SHAPES, filled, strict=True):
            np.testing.assert_array_equal(one.read(), some_vectors(shape), strict=True)


def test_rows_copied_from_another_shard_keep_their_bytes_and_digest(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5", rows_of([some_vectors(shape) for shape in SHAPES]))
    chosen = (5, 0, 3, 2)
    with Shard(first) as shard:
        copied = [shard.read_row_at(index, load=False) for index in chosen]
        second = write(tmp_path / "b.h5", [replace(row, video_id=f"w{row.video_id}") for row in copied])
        digests = shard.digests
    with Shard(second) as shard:
        assert shard.digests == tuple(digests[index] for index in chosen)
        for index in chosen:
            found = shard.read_row(f"wv{index}").values["vectors"]
            np.testing.assert_array_equal(found, some_vectors(SHAPES[index]), strict=True)


def test_any_flipped_byte_of_a_tensor_is_found_in_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", rows_of([some_vectors(shape) for shape in SHAPES]))
    sound = path.read_bytes()
    for index in (1, 3, 5):
        with h5py.File(path) as file:
            dataset = file[f"tensor/vectors/{SHAPES[index][1]}x8x2"]
            chunk = dataset.id.get_chunk_info_by_coord((int(file["starts/vectors"][index]), 0, 0, 0))
        for at in np.linspace(0, chunk.size - 1, 7).astype(int).tolist():
            damaged = bytearray(sound)
            damaged[chunk.byte_offset + at] ^= 1 << at % 8
            path.write_bytes(damaged)
            with Shard(path) as shard:
                for load in (True, False):
                    with pytest.raises(ShardError, match=f"v{index} is damaged"):
                        shard.read_row_at(index, load=load)
                assert [shard.read_row_at(other).row_key for other in (0, 2, 4)] == ["k0", "k2", "k4"]


@pytest.mark.parametrize("name", ["starts/vectors", "shapes/vectors"])
def test_a_row_at_another_place_is_found(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5", rows_of([some_vectors(SHAPES[3]), some_vectors(SHAPES[4])]))
    with h5py.File(path, "r+") as file:
        file[name][...] = file[name][...][::-1]
    with Shard(path) as shard, pytest.raises(ShardError, match="v0 is damaged"):
        shard.read_row("v0")


def test_shards_of_earlier_formats_are_read_but_for_their_vectors(tmp_path: Path) -> None:
    rows = [Row(video_id="v", row_key="k", values={"note": "as it was"})]
    write_shard(tmp_path / "a.h5", rows=rows, fields=FIELDS[1:], header=HEADER)
    for version, fields, message in (
        (1, b'[["note", "scalar", "text"]]', ""),
        (2, b'[["note", "scalar", "text"]]', ""),
        (2, b'[["past", "bytes", "uint8"]]', "expected shard format 3, found 2"),
        (4, b'[["note", "scalar", "text", null]]', "expected shard format 3, found 4"),
    ):
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file.attrs["format_version"] = version
            file.attrs["fields"] = np.bytes_(fields)
        if message:
            with pytest.raises(ShardError, match=message):
                Shard(tmp_path / "a.h5")
        else:
            with Shard(tmp_path / "a.h5") as shard:
                assert shard.read_row("v").values["note"] == "as it was"
