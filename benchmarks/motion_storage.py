"""Compare HDF5 filters, levels and layouts for motion vectors: bytes, and the times to write and read them.

    python benchmarks/motion_storage.py VIDEO_OR_FOLDER ... [--num-videos 24]

Each argument is one column; of a folder, videos are taken evenly spread. Rows are ways to store the int16 vectors of
both directions, (frames, rows, columns, 2); every video fills whole chunks. `planar` puts x and y into separate chunks.
The last row is the format of the cache. Times are microseconds of wall time per frame with vectors, in memory.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import COMPRESSION, chunk_items
from moclip.video.motion_vectors import read_motion

SUFFIXES = {".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg"}
Vectors = list[NDArray[np.int16]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--num-videos", type=int, default=24)
    options = parser.parse_args()
    columns = [read_vectors(path, num_videos=options.num_videos) for path in options.paths]
    print(f"{'bytes per frame, write and read in us':42}" + "".join(f"{path.stem[:22]:>24}" for path in options.paths))
    for name, (num_frames, planar, filters) in list_layouts().items():
        cells = [measure(vectors, num_frames=num_frames, planar=planar, filters=filters) for vectors in columns]
        print(
            f"{name:42}" + "".join(f"{size:10.0f} {write:6.0f} {read:6.0f}" for size, write, read in cells), flush=True
        )


def list_layouts() -> dict[str, tuple[int, bool, Mapping[str, Any]]]:
    """Return the frames per chunk (0 for those of the cache), planar or not, and the filters of each layout."""
    filters: dict[str, Mapping[str, Any]] = {f"zstd {level}": hdf5plugin.Zstd(clevel=level) for level in (1, 3)}
    filters["shuffle, zstd 1"] = {"shuffle": True, **hdf5plugin.Zstd(clevel=1)}
    for power, level in ((12, 1), (15, 1), (15, 3), (18, 1), (18, 9)):
        shuffle = hdf5plugin.Bitshuffle(nelems=2**power, cname="zstd", clevel=level)
        filters[f"bitshuffle 2^{power}, zstd {level}"] = shuffle
    for level in (1, 5):
        shuffle = hdf5plugin.Blosc2("zstd", level, hdf5plugin.Blosc2.BITSHUFFLE)
        filters[f"blosc2 bitshuffle, zstd {level}"] = shuffle
    layouts: dict[str, tuple[int, bool, Mapping[str, Any]]] = {}
    for name, kind in filters.items():
        layouts |= {f"{name}{', planar' * planar}": (32, planar, kind) for planar in (False, True)}
    layouts |= {f"bitshuffle 2^18, zstd 1, {n} frames": (n, False, COMPRESSION) for n in (8, 64)}
    return layouts | {"the cache": (0, False, COMPRESSION)}


def read_vectors(path: Path, *, num_videos: int) -> Vectors:
    every = [path] if path.is_file() else sorted(video for video in path.rglob("*") if video.suffix in SUFFIXES)
    chosen = np.unique(np.linspace(0, len(every) - 1, num_videos).astype(int))
    motions = [read_motion(every[index], video_id=every[index].stem) for index in chosen]
    return [vectors for motion in motions for vectors in (motion.past, motion.future)]


def measure(
    vectors: Vectors, *, num_frames: int, planar: bool, filters: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Return bytes, and microseconds to write and to read, each per frame with vectors into the past."""
    with h5py.File("memory", "w", libver="latest", driver="core", backing_store=False) as file:
        places = [create(file, array.shape[1:], num_frames=num_frames, planar=planar, filters=filters)
                  for array in vectors]  # fmt: skip
        since = time.perf_counter()
        starts = [append(dataset, array) for dataset, array in zip(places, vectors, strict=True)]
        file.flush()
        written = time.perf_counter()
        for dataset, start, array in zip(places, starts, vectors, strict=True):
            if not np.array_equal(read(dataset, start, len(array)), array):
                raise SystemExit(f"error: {filters} returned other vectors")
        done = time.perf_counter()
        size = sum(dataset.id.get_storage_size() for dataset in {d.name: d for d in places}.values())
    count = sum(map(len, vectors[::2]))
    return size / count, 1e6 * (written - since) / count, 1e6 * (done - written) / count


def create(
    file: h5py.File, item: Sequence[int], *, num_frames: int, planar: bool, filters: Mapping[str, Any]
) -> h5py.Dataset:
    name = "x".join(map(str, item))
    if name in file:
        return file[name]
    length = num_frames or chunk_items(np.dtype(np.int16), item)
    chunks = (length, *item[:-1], 1 if planar else 2)
    return file.create_dataset(name, shape=(0, *item), maxshape=(None, *item), dtype=np.int16, chunks=chunks, **filters)


def append(dataset: h5py.Dataset, array: NDArray[np.int16]) -> int:
    start, length = len(dataset), dataset.chunks[0]
    dataset.resize(start + -(-len(array) // length) * length, axis=0)
    for part in parts_of(dataset):
        if len(array):
            dataset[start : start + len(array), :, :, part] = array[..., part]
    return start


def read(dataset: h5py.Dataset, start: int, count: int) -> NDArray[np.int16]:
    whole = np.empty((count, *dataset.shape[1:]), np.int16)
    for part in parts_of(dataset):
        whole[..., part] = dataset[start : start + count, :, :, part]
    return whole


def parts_of(dataset: h5py.Dataset) -> list[Any]:
    return [0, 1] if dataset.chunks[-1] == 1 else [slice(None)]


if __name__ == "__main__":
    main()
