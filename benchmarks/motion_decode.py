"""How fast motion vectors come out of videos, as ratios to a bare decode of the same files in the same run.

    python benchmarks/motion_decode.py VIDEO_OR_FOLDER ... [--num-videos 50] [--repeats 5]

Each argument is one line of the tables; of a folder, videos are taken evenly spread; a single video is copied until
there are 2,000 frames, each copy with other bytes at its end, so that each is decoded. Without any argument, two videos
are made.

`bare` is PyAV with one thread and `export_mvs`, which reads nothing of what it decodes. `stage` is what a job of the
workflow does: decode in a worker process, hand over, check that the file is still the one in the manifest,
compress, write the rows to the cache, put the shard together; without the start of that process, once a shard, which is
printed below. `vectors-only` is the package motion-vector-extractor in that mode, where it is installed. `exact` builds
25 accumulated fields a video at every pixel, `stride 8` the same at every eighth, both from vectors already read. Those
times are processor seconds of all processes on one core, to which they are bound, medians of interleaved repeats.
`read` is the wall time to read and check one video of the shard.

Then the wall time of two shards in one job after the other against two jobs at once, and the peak memory of a job, its
own and that of its decoder, on a video and on one thirty times as long.
"""

import argparse
import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from moclip.cache.reader import Shard
from moclip.config.settings import MotionVariant
from moclip.dataset import fingerprints
from moclip.errors import VideoError
from moclip.extraction.extractor import ShardJob, Video, extract_shard
from moclip.extraction.motion import build_motion_extractor
from moclip.motion.fields import FieldSpec, build_fields
from moclip.motion.vectors import MotionVectors, motion_from_row
from moclip.video.isolation import Isolated
from moclip.video.motion_vectors import decode_motion, prepare_worker, read_motion
from moclip.video.writer import write_video

SUFFIXES = {".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg"}
FEWEST_FRAMES = 2000
MEMO = "memo.tsv"
HEAD = (
    f"{'videos':28} frames  bare f/s | times as fast as bare: stage  vectors-only | bytes/frame | "
    "ms/100 frames: read | of bare: exact  stride 8"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--num-videos", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = options.paths or make_videos(folder)
        prepare_worker()
        all_cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(all_cores)})
        sets = {path.stem: list_files(path, num_videos=options.num_videos, folder=folder) for path in paths}
        start = statistics.median(processor_seconds(start_decoder) for _ in range(max(3, options.repeats)))
        print(HEAD)
        for title, videos in sets.items():
            print(line_of(title, videos, repeats=options.repeats, folder=folder, start=start), flush=True)
        os.sched_setaffinity(0, all_cores)
        scaling = measure_scaling(max(sets.values(), key=len), repeats=options.repeats, folder=folder)
        print(f"\nstart of a shard's decoder: {start:.2f} processor seconds, not in `stage`")
        print(f"two jobs against one: {scaling:.2f} times as fast")
        for path in (path for path in paths if path.is_file()):
            print(f"peak memory of a job, {path.name}: {measure_memory(path, folder=folder)}", flush=True)


def make_videos(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (60, 120, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [texture[t : t + 256, 3 * t : 3 * t + 340] for t in range(120)]
    paths = []
    for codec, max_b_frames in (("mpeg4", 0), ("h264", 2)):
        paths.append(folder / f"made_{codec}.mp4")
        write_video(paths[-1], frames, codec=codec, frame_rate=25, gop=12, max_b_frames=max_b_frames)  # type: ignore[arg-type]
    return paths


def list_files(path: Path, *, num_videos: int, folder: Path) -> list[Path]:
    if path.is_file():
        copies = [
            folder / f"{path.stem}-{number}{path.suffix}" for number in range(-(-FEWEST_FRAMES // decode_bare(path)))
        ]
        for number, copy in enumerate(copies):
            copy.write_bytes(path.read_bytes() + bytes(number))
        return copies
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


def decode_vectors_only(path: Path) -> None:
    # An option of this benchmark, and no dependency of the project.
    capture = importlib.import_module("mvextractor.videocap").VideoCap()
    capture.set_decode_frames(False)
    capture.open(str(path))
    while capture.read()[0]:
        pass
    capture.release()


def processor_seconds(act: Callable[[], object]) -> float:
    """Return the processor time of an act, in this process and in those that it started and ended."""

    def spent() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = spent()
    act()
    return spent() - before


def start_decoder() -> None:
    with Isolated(decode_motion) as decode, contextlib.suppress(VideoError):
        decode(video_id="", path="/nowhere", source="original", spool_folder=None)


def list_for_stage(videos: Sequence[Path], *, folder: Path) -> list[Video]:
    """Return the videos as a manifest lists them, whose fingerprints are remembered as those of a manifest are."""
    paths = sorted({path.absolute() for path in videos})
    status = [path.stat() for path in paths]
    versions = [
        (path.as_posix(), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in zip(paths, status, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    digests = dict(zip(paths, fingerprints.digest_videos(versions, memo=folder / MEMO, num_threads=1), strict=True))
    return [
        Video(video_id=f"{i:04d}", path=path.absolute(), fingerprint=digests[path.absolute()])
        for i, path in enumerate(videos)
    ]


def run_stage(videos: Sequence[Video], *, folder: Path) -> Path:
    """Build a shard in a cache without rows, as a job of the workflow does."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    remembered = fingerprints.memo_file(folder / "cache", dataset="benchmark")
    remembered.parent.mkdir(parents=True)
    shutil.copyfile(folder / MEMO, remembered)
    job = ShardJob(
        dataset="benchmark",
        root=Path("/"),
        shard=0,
        num_shards=1,
        output=folder / "shard-0.h5",
        cache_dir=folder / "cache",
        on_bad_video="fail",
        fingerprint="content",
    )
    extract_shard(build_motion_extractor(MotionVariant(), spool_folder=folder), videos=videos, job=job)
    return job.output


def run_fields(motions: Sequence[MotionVectors], *, stride: int) -> None:
    for motion in motions:
        frames = np.linspace(0, motion.num_frames - 1, 25).astype(int)
        build_fields(motion, frames, spec=FieldSpec(stride=stride))


def read_all(path: Path) -> float:
    """Return the seconds it takes to read every row of a shard, in random order."""
    seconds = 0.0
    with Shard(path) as shard:
        for video_id in np.random.default_rng(0).permutation(shard.video_ids).tolist():
            start = time.perf_counter()
            motion_from_row(shard.read_row(video_id).values)
            seconds += time.perf_counter() - start
    return seconds


def line_of(name: str, videos: Sequence[Path], *, repeats: int, folder: Path, start: float) -> str:
    motions = [read_motion(video, video_id=video.stem) for video in videos]
    listed = list_for_stage(videos, folder=folder / "stage")
    shard = run_stage(listed, folder=folder / "stage")
    num_frames = sum(motion.num_frames for motion in motions)
    num_bytes = shard.stat().st_size
    reading = statistics.median(read_all(shard) for _ in range(max(3, repeats)))
    runs: dict[str, Callable[[], Any]] = {
        "bare": lambda: [decode_bare(video) for video in videos],
        "stage": lambda: run_stage(listed, folder=folder / "stage"),
        "exact": lambda: run_fields(motions, stride=1),
        "stride 8": lambda: run_fields(motions, stride=8),
    }
    if importlib.util.find_spec("mvextractor"):
        runs["vectors-only"] = lambda: [decode_vectors_only(video) for video in videos]
    seconds: dict[str, list[float]] = {run: [] for run in runs}
    for _ in range(repeats):
        for run, act in runs.items():
            seconds[run].append(processor_seconds(act) - (start if run == "stage" else 0))
    ratio = {
        run: statistics.median(b / t for b, t in zip(seconds["bare"], times, strict=True))
        for run, times in seconds.items()
    }
    other = f"{ratio['vectors-only']:12.2f}" if "vectors-only" in ratio else f"{'-':>12}"
    return (
        f"{name[:21]:21} ({len(videos):4}) {num_frames:7} {num_frames / statistics.median(seconds['bare']):9.0f} |"
        f"                        {ratio['stage']:5.2f}  {other} | {num_bytes / num_frames:11.0f} |"
        f"               {1e5 * reading / num_frames:5.2f} |"
        f"          {1 / ratio['exact']:5.2f}     {1 / ratio['stride 8']:5.2f}"
    )


def measure_scaling(videos: Sequence[Path], *, repeats: int, folder: Path) -> float:
    """Return how many times as fast two jobs are with two shards as one after the other."""
    halves = [videos[::2], videos[1::2]]
    ratios = []
    for _ in range(repeats):
        walls = [time_processes([half], folder=folder) for half in halves]
        ratios.append(sum(walls) / time_processes(halves, folder=folder))
    return statistics.median(ratios)


def time_processes(parts: Sequence[Sequence[Path]], *, folder: Path) -> float:
    """Return the wall seconds of one process a part, all at once, without their start."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(parts) + 1)
    workers = [
        context.Process(target=work_on_part, args=(list(part), folder / f"part-{index}", ready))
        for index, part in enumerate(parts)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    ready.wait()
    seconds = time.perf_counter() - start
    for worker in workers:
        worker.join()
    return seconds


def work_on_part(videos: list[Path], folder: Path, ready: Any) -> None:
    prepare_worker()
    listed = list_for_stage(videos, folder=folder)
    run_stage(listed[:1], folder=folder)
    ready.wait()
    run_stage(listed, folder=folder)
    ready.wait()


def measure_memory(path: Path, *, folder: Path) -> str:
    """Return the peak resident memory of a job with a shard of one video, and with one 30 times as long."""
    long = folder / "long.mkv"
    repeat_video(path, long, times=30)
    context = multiprocessing.get_context("spawn")
    found = []
    for video in (path, long):
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=report_memory, args=(video, folder / "memory", sender))
        worker.start()
        own, decoder, num_frames = receiver.recv()
        worker.join()
        found.append(f"{own:.0f} + {decoder:.0f} MB ({num_frames} frames)")
    return ", ".join(found)


def repeat_video(path: Path, output: Path, *, times: int) -> None:
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video) if p.dts is not None]
        step = max(1, round(1 / (video.average_rate * video.time_base)))  # type: ignore[operator]
        with av.open(str(output), "w") as container:
            stream = container.add_stream_from_template(video)
            for turn in range(times):
                for data, pts, dts, is_keyframe in packets:
                    packet = av.Packet(data)
                    packet.pts, packet.dts = (stamp + turn * step * len(packets) for stamp in (pts, dts))  # type: ignore[operator]
                    packet.time_base, packet.stream, packet.is_keyframe = video.time_base, stream, is_keyframe
                    container.mux(packet)


def report_memory(path: Path, folder: Path, sender: Any) -> None:
    shard = run_stage(list_for_stage([path], folder=folder), folder=folder)
    with Shard(shard) as opened:
        row = opened.read_row_at(0, check=False, load=False)
        num_frames = len(row.values["picture_type"])  # type: ignore[arg-type]
    # Of this process alone: getrusage also counts the process that this one was forked from.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    decoder = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sender.send((int(status["VmHWM"].split()[0]) / 1024, decoder / 1024, num_frames))


if __name__ == "__main__":
    main()
