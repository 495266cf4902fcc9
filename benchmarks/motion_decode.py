"""How fast motion vectors come out of videos, as ratios to a bare decode of the same files in the same run.

    python benchmarks/motion_decode.py VIDEO_OR_FOLDER ... [--num-videos 50] [--repeats 5]

Each argument is one line of the table; of a folder, videos are taken evenly spread. Without any, two videos are made.
`bare` is PyAV with one thread and `export_mvs`, which reads nothing of what it decodes. `read` is `read_motion`;
`stage` also writes them to one shard; `exact` builds 25 accumulated fields a video at every pixel, `stride 8` the same
at every eighth, both from vectors already read. Times are processor seconds of this process, medians of interleaved
repeats.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from moclip.motion import FieldSpec, MotionVectors, build_fields, motion_to_row
from moclip.motion_extraction import MOTION_FIELDS
from moclip.shards import Row, ShardHeader, write_shard
from moclip.video import prepare_worker, read_motion, write_video

SUFFIXES = {".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg"}
HEADER = ShardHeader(extractor="benchmark", extractor_version=1, parameters={}, signature="", provenance={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--num-videos", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = options.paths or make_videos(Path(folder))
        print(f"{'videos':32} frames  bare f/s | ratio to bare: read  stage | bytes a frame | of bare: exact  stride 8")
        prepare_worker()
        for path in paths:
            videos = list_videos(path, num_videos=options.num_videos)
            print(line_of(path.stem, videos, repeats=options.repeats, shard=Path(folder) / "shard.h5"), flush=True)


def make_videos(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (60, 120, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [texture[t : t + 256, 3 * t : 3 * t + 340] for t in range(120)]
    paths = []
    for codec, max_b_frames in (("mpeg4", 0), ("h264", 2)):
        paths.append(folder / f"made_{codec}.mp4")
        write_video(paths[-1], frames, codec=codec, frame_rate=25, gop=12, max_b_frames=max_b_frames)
    return paths


def list_videos(path: Path, *, num_videos: int) -> list[Path]:
    if path.is_file():
        return [path]
    every = sorted(video for video in path.rglob("*") if video.suffix.lower() in SUFFIXES)
    if not every:
        raise SystemExit(f"error: expected videos below {path}, found none")
    chosen = np.unique(np.linspace(0, len(every) - 1, num_videos).astype(int))
    return [every[index] for index in chosen]


def decode_bare(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"flags2": "+export_mvs"}
        return sum(1 for _ in container.decode(stream))


def run_stage(videos: Sequence[Path], *, shard: Path) -> None:
    rows = (
        Row(video_id=str(video), row_key="", values=motion_to_row(read_motion(video, video_id="v"))) for video in videos
    )
    write_shard(shard, rows=rows, fields=MOTION_FIELDS, header=HEADER)


def run_fields(motions: Sequence[MotionVectors], *, stride: int) -> NDArray[np.float32] | None:
    fields = None
    for motion in motions:
        frames = np.linspace(0, motion.num_frames - 1, 25).astype(int)
        fields = build_fields(motion, frames, spec=FieldSpec(stride=stride))
    return fields


def line_of(name: str, videos: Sequence[Path], *, repeats: int, shard: Path) -> str:
    motions = [read_motion(video, video_id=video.stem) for video in videos]
    run_stage(videos, shard=shard)
    num_bytes = shard.stat().st_size
    num_frames = sum(motion.num_frames for motion in motions)
    runs: dict[str, Callable[[], object]] = {
        "bare": lambda: [decode_bare(video) for video in videos],
        "read": lambda: [read_motion(video, video_id="v") for video in videos],
        "stage": lambda: run_stage(videos, shard=shard),
        "exact": lambda: run_fields(motions, stride=1),
        "stride 8": lambda: run_fields(motions, stride=8),
    }
    seconds: dict[str, list[float]] = {run: [] for run in runs}
    for _ in range(repeats):
        for run, act in runs.items():
            start = time.process_time()
            act()
            seconds[run].append(time.process_time() - start)
    median = {run: statistics.median(times) for run, times in seconds.items()}
    ratio = {run: statistics.median(b / t for b, t in zip(seconds["bare"], seconds[run], strict=True)) for run in runs}
    return (
        f"{name[:25]:25} ({len(videos):4}) {num_frames:7} {num_frames / median['bare']:9.0f} |"
        f"               {ratio['read']:5.2f}  {ratio['stage']:5.2f} | {num_bytes / num_frames:13.0f} |"
        f"          {1 / ratio['exact']:6.2f}    {1 / ratio['stride 8']:6.2f}"
    )


if __name__ == "__main__":
    main()
