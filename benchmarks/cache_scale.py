"""Time and memory of the workflow itself with 13,320 and 500,000 videos.

    python benchmarks/cache_scale.py --videos 13320 --splits 3 --seeds 3 --experiments 4
    python benchmarks/cache_scale.py --videos 13320 --splits 3 --seeds 3 --experiments 4 --whole
    python benchmarks/cache_scale.py --videos 500000

The videos are links to a few tiny clips, with made-up fingerprints in the fingerprint cache. The shards are written by
the row cache from rows that cost nothing. All outputs after them are empty files with the records that a job writes.
The benchmark prints the least wall time, seconds of a core and peak memory of some repeats: building the manifest
from a warm fingerprint cache, a run with nothing to do, and a run with one more video, up to the two indexes.
It checks that all other shards keep their bytes and times. The decode and the image encoder of that video are included.

`--whole` runs the whole workflow, with models that take no time (tests/workflow/stand_ins): every clip is decoded, and
the added video goes through every network, test, table and page. That video's own work is in the figure.

`--splits 3 --seeds 3` is the protocol of the paper: nine motion networks, each with its own embeddings.

With `--folder` the project is kept, and the next call measures there again. Building takes about 2 minutes for 13,320
videos (10 with `--whole`) and 20 for 500,000, and 0.1 and 2 GB of disk.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import yaml

from moclip.cache.format import Row
from moclip.config.settings import Settings
from moclip.config.validation import check_config
from moclip.core.records import write_record
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard, group_videos, index_shards
from moclip.video.writer import write_video
from moclip.workflow.feature_sets import list_feature_sets
from moclip.workflow.plan import open_plan

REPOSITORY = Path(__file__).resolve().parents[1]
NUM_CLASSES = 101
# A file can have 65,000 links on ext4.
LINKS_PER_CLIP = 50_000
# For so many videos at most: wall seconds and peak MB of a run that has nothing to do.
IDLE_BARS = ((13_320, 5.0, 400.0), (500_000, 25.0, 2000.0))
# At 13,320 videos: wall seconds of the manifest. For so many videos at most: wall seconds of a run with one more.
MANIFEST_SECONDS = 5.0
ADDED_BARS = ((13_320, 20.0), (500_000, 120.0))
MANIFEST = """
import time
from pathlib import Path
import yaml
from moclip.config.dataset_settings import Dataset
from moclip.dataset.manifest import build_manifest, write_manifest
config = yaml.safe_load(Path("config.yaml").read_text())
since = time.monotonic()
frame = build_manifest(Dataset(**config["dataset"]), memo=Path("results/.cache/fingerprints/scale.tsv"))
write_manifest(frame, Path("results/scale/manifest.tsv"))
print(time.monotonic() - since)
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall seconds, seconds of a core that it and what it started used, and its peak memory in MB."""

    seconds: float
    core_seconds: float
    peak_mb: float
    output: str

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s wall, {self.core_seconds:.1f} s of a core, {self.peak_mb:.0f} MB"


def build_config(*, num_shards: int, num_splits: int, num_seeds: int, num_experiments: int) -> dict[str, object]:
    """Return a configuration with the whole graph: two streams, motion networks, heads and a report."""
    experiment = {
        "appearance": "clip",
        "motion_network": "net",
        "text": "words",
        "splits": list(range(1, num_splits + 1)),
        "seeds": list(range(num_seeds)),
    }
    return {
        "dataset": {
            "name": "scale",
            "layout": "table",
            "root": "videos",
            "lists": "videos.csv",
            "num_shards": num_shards,
        },
        "motion": {"original": {}},
        "appearance": {"clip": {"model": f"local-dir:{REPOSITORY / 'resources/demo-clip'}"}},
        "text": {
            "words": {
                "appearance": "clip",
                "templates": str(REPOSITORY / "config/prompts/templates.yaml"),
                "phrases": "from_class_names",
            }
        },
        "motion_network": {"net": {"motion": "original", "backbone": "test_efficientnet", "weights": "none"}},
        "head": {f"mlp{number}": {"hidden": 8 * (number + 1), "epochs": 1} for number in range(num_experiments)},
        "experiments": {f"e{number}": {**experiment, "head": f"mlp{number}"} for number in range(num_experiments)},
    }


def write_clip(path: Path, *, seed: int) -> None:
    """Write a clip of 8 small frames."""
    frames = np.random.default_rng(seed).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    write_video(path, list(frames), codec="mpeg4", frame_rate=25, gop=8, max_b_frames=0)


def video_path(number: int) -> str:
    """Return the path of a video below the root."""
    return f"class{number % NUM_CLASSES:03d}/g{number % 25:02d}_v{number:06d}.avi"


def subset_of(number: int, *, split: int) -> str:
    """Return the subset of a video in a split."""
    return ("train", "train", "val", "test")[(number // NUM_CLASSES + split) % 4]


def list_line(number: int, *, num_splits: int) -> str:
    """Return the line of a video in the list."""
    path = video_path(number)
    subsets = [subset_of(number, split=split) for split in range(num_splits)]
    return ",".join([path, path.split("/")[0], *subsets])


def write_dataset(num_videos: int, *, num_splits: int) -> None:
    """Link the videos, list them, and note a fingerprint of each as if it had been read."""
    clips = [Path("clips") / f"{number}.avi" for number in range(num_videos // LINKS_PER_CLIP + 1)]
    for number, clip in enumerate(clips):
        clip.parent.mkdir(exist_ok=True)
        write_clip(clip, seed=number)
    for number in range(NUM_CLASSES):
        Path(f"videos/class{number:03d}").mkdir(parents=True, exist_ok=True)
    lines, notes = [",".join(["video", "class", *(f"split_{split + 1}" for split in range(num_splits))])], []
    for number in range(num_videos):
        path = video_path(number)
        target = Path("videos", path)
        os.link(clips[number // LINKS_PER_CLIP], target)
        lines.append(list_line(number, num_splits=num_splits))
    for number in range(num_videos):  # a link more changes the times of all others
        path = video_path(number)
        target = Path("videos", path)
        status = target.stat()
        digest = blake2b(path.encode(), digest_size=16).hexdigest()
        notes.append(f"{target}\t{status.st_size}\t{status.st_mtime_ns}\t{status.st_ctime_ns}\t{digest}\n")
    Path("videos.csv").write_text("\n".join(lines) + "\n")
    memo = Path("results/.cache/fingerprints/scale.tsv")
    memo.parent.mkdir(parents=True, exist_ok=True)
    memo.write_text("".join(sorted(notes)))


def write_features(settings: Settings) -> None:
    """Write the shards of both streams through the row cache, from rows that say that there are no features."""
    grouped = group_videos(Path("results/scale/manifest.tsv"), root=Path("videos"))
    num_shards = settings.dataset.num_shards
    for feature_set in list_feature_sets(settings):
        if feature_set.motion is not None or feature_set.extractor is None:
            continue
        extractor = replace(feature_set.extractor, extract=_rejecting(feature_set.extractor), reads_videos=False)
        for shard in range(num_shards):
            output = feature_set.folder / f"shard-{shard}.h5"
            job = ShardJob.from_settings(settings, shard=shard, output=output)
            extract_shard(extractor, videos=grouped.get(shard, []), job=job)
        index_shards(
            extractor,
            manifest=Path("results/scale/manifest.tsv"),
            jobs=ShardJob.list_all(settings, index=feature_set.folder / "index.json"),
            output=feature_set.folder / "index.json",
            rebuild=_refuse,
        )


def _refuse(job: ShardJob) -> None:
    raise AssertionError(f"{job.output}: damaged by the benchmark")


def _rejecting(extractor: Extractor) -> Callable[[Sequence[Video]], Iterator[Row]]:
    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        for video in videos:
            yield Row(
                video_id=video.video_id,
                row_key=extractor.row_key(video),
                values={},
                reject_reason="missing",
                reject_detail="made up",
            )

    return extract


def write_rest(settings: Settings) -> None:
    """Write a small file in place of every output that does not exist, and the record of every job."""
    plan = open_plan(settings, scripts=REPOSITORY / "workflow/scripts")
    contents = {
        "motion_embedding_index": Path("results/scale/motion/original/index.json").read_bytes(),
    }
    for job in plan.jobs:
        for path in map(Path, job.files):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(contents.get(job.rule, b""))
        write_record(job.files, rule=job.rule, params=job.params(), reads=job.read_files())


def run_snakemake(*arguments: str) -> Cost:
    """Run the workflow in the working directory."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config.yaml"]
    code = Path("code").absolute() if Path("code").is_dir() else REPOSITORY
    command += ["--snakefile", str(code / "Snakefile")]
    command += ["--workflow-profile", str(code / "workflow/profiles/default"), *arguments]
    os.environ["PYTHONPATH"] = str(code / "src")
    return run_measured(command)


def run_measured(command: Sequence[str]) -> Cost:
    """Run a command to its end and return what it took."""
    since = time.monotonic()
    with Path("output.txt").open("w+") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        file.seek(0)
        output = file.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    return Cost(
        seconds=time.monotonic() - since,
        core_seconds=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / 1000,
        output=output,
    )


def add_video(number: int, *, num_splits: int) -> None:
    """Add one video, a clip of its own."""
    write_clip(Path("videos", video_path(number)), seed=10_000 + number)
    with Path("videos.csv").open("a") as file:
        file.write(list_line(number, num_splits=num_splits) + "\n")


def state_of_shards() -> dict[Path, tuple[int, bytes]]:
    """Return time and content digest of every shard of both streams."""
    paths = [path for stream in ("motion", "appearance") for path in Path("results/scale", stream).rglob("shard-*.h5")]
    return {path: (path.stat().st_mtime_ns, blake2b(path.read_bytes()).digest()) for path in paths}


def build(num_videos: int, *, config: dict[str, object], num_splits: int, whole: bool) -> None:
    """Build the project in the working folder, unless a former call has."""
    if Path("built").is_file():
        return
    if whole:
        # Imported here: only this one needs the tests, in whose folder the stand-ins are.
        sys.path.insert(0, str(REPOSITORY))
        from tests.workflow.checkout import build_checkout  # noqa: PLC0415

        build_checkout(Path("code"))
    settings = check_config(config)
    Path("config.yaml").write_text(yaml.safe_dump(settings.canonical()))
    write_dataset(num_videos, num_splits=num_splits)
    if whole:
        report("first run", run_snakemake("--quiet"))
        Path("built").touch()
        return
    run_measured([sys.executable, "-c", MANIFEST])
    with Path("progress.txt").open("w") as file, redirect_stderr(file):
        write_features(settings)
    write_rest(settings)
    run_snakemake("--touch", "--forceall", "--quiet", "all")
    Path("built").touch()


def measure_manifest(num_videos: int, *, repeats: int) -> None:
    """Print what the manifest takes, whose content must stay as it is."""
    before = Path("results/scale/manifest.tsv").read_bytes()
    costs = [run_measured([sys.executable, "-c", MANIFEST]) for _ in range(repeats)]
    if Path("results/scale/manifest.tsv").read_bytes() != before:
        sys.exit("expected the same manifest, found another")
    best = min(float(cost.output) for cost in costs)
    report("manifest from a warm fingerprint cache", least(costs), seconds=best)
    if num_videos <= IDLE_BARS[0][0]:
        check(best, MANIFEST_SECONDS, unit="s")


def measure_idle(num_videos: int, *, repeats: int) -> None:
    """Print what a run takes that has nothing to do."""
    costs = [run_snakemake() for _ in range(repeats)]
    if any("Nothing to be done" not in cost.output for cost in costs):
        sys.exit(f"expected nothing to be done, found:\n{costs[0].output[-3000:]}")
    best = least(costs)
    report("nothing to do", best)
    for most, seconds, megabytes in IDLE_BARS:
        if num_videos <= most:
            check(best.seconds, seconds, unit="s")
            check(best.peak_mb, megabytes, unit="MB")
            break


def measure_added(num_videos: int, *, whole: bool) -> None:
    """Print the cost of one more video, and check that the other shards were left alone."""
    head, *listed = Path("videos.csv").read_text().splitlines()
    before = state_of_shards()
    add_video(len(listed), num_splits=head.count("split_"))
    targets = [f"results/scale/{name}/index.json" for name in ("motion/original", "appearance/clip")]
    added = run_snakemake(*([] if whole else targets))
    after = state_of_shards()
    changed = sorted(str(path) for path in before if before[path] != after[path])
    report("one video added, its decode and embedding with it", added)
    check(added.seconds, next(seconds for most, seconds in ADDED_BARS if num_videos <= most), unit="s")
    print(f"  shards that changed: {len(changed)} of {len(before)}", flush=True)
    if len(changed) != 2:
        sys.exit(f"expected one shard of each stream to change, found {changed}")


def least(costs: Sequence[Cost]) -> Cost:
    """Return the least of each figure."""
    return Cost(
        seconds=min(cost.seconds for cost in costs),
        core_seconds=min(cost.core_seconds for cost in costs),
        peak_mb=min(cost.peak_mb for cost in costs),
        output="",
    )


def report(title: str, cost: Cost, *, seconds: float | None = None) -> None:
    """Print a figure; `seconds` in place of those of the whole process, where they have a bar."""
    print(f"{title}: {replace(cost, seconds=cost.seconds if seconds is None else seconds)}", flush=True)


def check(found: float, bar: float, *, unit: str) -> None:
    """Print whether a figure keeps to its bar."""
    print(f"  {'within' if found <= bar else 'OVER'} the bar of {bar:g} {unit}: {found:.1f} {unit}", flush=True)


def main() -> None:
    """Measure in a folder that is removed, or kept where it is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=13_320)
    parser.add_argument("--shards", type=int, help="1 for 100 videos, or 500 of more than 100,000, unless given")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--experiments", type=int, default=1)
    parser.add_argument("--whole", action="store_true", help="run the whole workflow, with models that take no time")
    parser.add_argument("--folder", type=Path, help="a folder to build in, or one that was built in, to keep")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    num_shards = options.shards or max(1, options.videos // (500 if options.videos > 100_000 else 100))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        print(f"{options.videos:,} videos in {num_shards:,} shards; {platform.machine()}, {os.cpu_count()} cores")
        config = build_config(
            num_shards=num_shards,
            num_splits=options.splits,
            num_seeds=options.seeds,
            num_experiments=options.experiments,
        )
        build(options.videos, config=config, num_splits=options.splits, whole=options.whole)
        measure_manifest(options.videos, repeats=options.repeats)
        measure_idle(options.videos, repeats=options.repeats)
        measure_added(options.videos, whole=options.whole)
        os.chdir(REPOSITORY)


if __name__ == "__main__":
    main()
