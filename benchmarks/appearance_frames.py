"""Milliseconds a video to read chosen frames, sought out and decoded from first to last, in one run.

    python benchmarks/appearance_frames.py VIDEO_OR_FOLDER ... [--num-videos 25] [--repeats 2]

Each argument is one pair of lines. Times are processor seconds of one thread, the best of interleaved repeats.
"""

import argparse
import time
from functools import partial
from pathlib import Path

from moclip.video.frames import read_frames
from moclip.video.motion_vectors import prepare_worker
from moclip.video.sampling import choose_frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--num-videos", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    prepare_worker()
    print(f"{'videos':28} frames  whole ms  sought ms  times as fast")
    for path in options.paths:
        found = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
        videos = found[:: max(1, len(found) // options.num_videos)][: options.num_videos]
        for policy, count in (("middle", 1), ("uniform", 8)):
            whole, sought = measure(videos, policy=policy, count=count, repeats=options.repeats)
            print(f"{path.name:28} {count:6} {whole:9.1f} {sought:10.1f} {whole / sought:14.2f}", flush=True)


def measure(videos: list[Path], *, policy: str, count: int, repeats: int) -> tuple[float, float]:
    def choose(number: int) -> list[int]:
        return [int(i) for i in choose_frames(policy, num_frames=number, num_selected=count, video_id="v")]

    best = {False: float("inf"), True: float("inf")}
    for _ in range(repeats):
        for seek in (False, True):
            read = partial(read_frames, video_id="v", choose=choose, seek=seek)
            start = time.process_time()
            for video in videos:
                read(video)
            best[seek] = min(best[seek], (time.process_time() - start) * 1000 / len(videos))
    return best[False], best[True]


if __name__ == "__main__":
    main()
