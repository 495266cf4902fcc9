"""How long exact search takes: one query against N unit vectors of D numbers, mapped from a file.

python benchmarks/search.py [N ...]   (default: 100000 1000000; D is 512)

Prints the best of five searches with the file in memory, and the first one after the file was put out of memory, each
with the ranking of the ten best moments.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from moclip.inference.search import FrameIndex, search_frames

EMBEDDING_DIM = 512
FRAMES_A_VIDEO = 10


def build_file(path: Path, *, num_frames: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, num_frames, 10_000):
            part = rng.standard_normal((min(10_000, num_frames - start), EMBEDDING_DIM), dtype=np.float32)
            file.write((part / np.linalg.norm(part, axis=1, keepdims=True)).tobytes())
        file.flush()
        os.fsync(file.fileno())


def open_file(path: Path, *, num_frames: int) -> FrameIndex:
    num_videos = num_frames // FRAMES_A_VIDEO
    return FrameIndex(
        video_ids=tuple(f"video-{number}" for number in range(num_videos)),
        offsets=np.arange(num_videos + 1, dtype=np.int64) * FRAMES_A_VIDEO,
        vectors=np.asarray(np.memmap(path, np.float32, "r", shape=(num_frames, EMBEDDING_DIM))),
        frame_index=np.tile(np.arange(FRAMES_A_VIDEO, dtype=np.int32), num_videos),
        time_seconds=np.tile(np.arange(FRAMES_A_VIDEO) / 2, num_videos),
    )


def measure(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]
    query = np.random.default_rng(1).standard_normal(EMBEDDING_DIM, dtype=np.float32)
    for num_frames in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.f32"
            build_file(path, num_frames=num_frames)
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            frames = open_file(path, num_frames=num_frames)
            search = partial(search_frames, frames, query, limit=10)
            cold, warm = measure(search), min(measure(search) for _ in range(5))
            title = f"{num_frames:>9,} x {EMBEDDING_DIM}"
            print(f"{title}: {1000 * warm:6.1f} ms in memory, {1000 * cold:6.1f} ms from disk")


if __name__ == "__main__":
    main()
