"""The cost of the jobs that train heads, on the table of config/ucf101_5.yaml: 14 experiments, 3 splits, 3 seeds.

    python benchmarks/head_jobs.py
    python benchmarks/head_jobs.py --code /path/to/another/checkout --code .

The features are random numbers of the widths of the real ones, written through the row cache, and the networks are
empty. The benchmark asks Snakemake for all heads: with nothing in the cache of heads, then with all of them there, as
after the results were deleted. It prints wall seconds, and seconds of a core of the jobs and of Snakemake itself. With
several checkouts each is measured in turn, so that one call compares them on an equally busy machine.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from moclip.cache.format import Field, Row
from moclip.config.validation import check_config
from moclip.core.records import write_record
from moclip.core.tensors import DIGEST_KEY, digest_tensors
from moclip.dataset.labels import LEARNED, load_labels
from moclip.dataset.manifest import build_manifest, write_manifest
from moclip.encoders.network_notes import read_network_digest
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard, group_videos, index_shards
from moclip.workflow.jobs import Job
from moclip.workflow.plan import open_plan

REPOSITORY = Path(__file__).resolve().parents[1]
NUM_VIDEOS, NUM_CLASSES, NUM_GROUPS = 503, 5, 25
APPEARANCE_WIDTH, MOTION_WIDTH = 1280, 256
ENCODER = REPOSITORY / "resources/demo-clip"
ABOVE_HEADS = {
    "manifest",
    "motion_shard",
    "motion_index",
    "appearance_shard",
    "appearance_index",
    "motion_network",
    "motion_embedding_shard",
    "motion_embedding_index",
}
# Runs Snakemake and writes the cost of it and of its jobs. A script's process is a child of this one.
RUN = """
import json, resource, sys, time
from snakemake.cli import main
since = time.monotonic()
try:
    main(sys.argv[2:])
except SystemExit as end:
    code = end.code
own, jobs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
found = {name: usage.ru_utime + usage.ru_stime for name, usage in (("snakemake", own), ("jobs", jobs))}
found["wall"] = time.monotonic() - since
open(sys.argv[1], "w").write(json.dumps(found))
sys.exit(code)
"""


def main() -> None:
    """Measure each checkout in a folder that is removed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, action="append", help="a checkout; this one unless given")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--splits", type=int, default=3, help="of the three; fewer take less time")
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    checkouts = [code.resolve() for code in options.code or [REPOSITORY]]
    if options.build:
        build_project(checkouts[0], num_splits=options.splits)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        for code in checkouts:
            folder = Path(temporary, str(checkouts.index(code)))
            folder.mkdir()
            environment = {**os.environ, "PYTHONPATH": str(code / "src"), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, str(Path(__file__).resolve()), "--build", "--code", str(code)]
            command += ["--splits", str(options.splits)]
            subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
            measure = partial(run_heads, code, folder=folder, cores=options.cores, environment=environment)
            for _ in range(options.repeats):
                shutil.rmtree(folder / "results/.cache/heads", ignore_errors=True)
                report(code, "nothing cached", measure())
            for _ in range(options.repeats):
                report(code, "all heads cached", measure())


def report(code: Path, title: str, cost: dict[str, float]) -> None:
    """Print a line."""
    line = f"{cost['num_jobs']:.0f} jobs: {cost['jobs']:.1f} s of a core"
    print(
        f"{code.name}: {title}: {line}, {cost['wall']:.1f} s wall; Snakemake itself {cost['snakemake']:.1f} s",
        flush=True,
    )


def run_heads(code: Path, *, folder: Path, cores: int, environment: dict[str, str]) -> dict[str, float]:
    """Remove all heads, let Snakemake make them, and return the cost."""
    targets = json.loads((folder / "targets.json").read_text())
    for target in targets:
        (folder / target).unlink(missing_ok=True)
    command = [sys.executable, "-c", RUN, "cost.json", "--cores", str(cores), "--configfile", "config.yaml"]
    command += ["--snakefile", str(code / "Snakefile"), "--workflow-profile", str(code / "workflow/profiles/default")]
    done = subprocess.run(
        [*command, "--", *targets], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"Snakemake failed:\n{(done.stdout + done.stderr)[-3000:]}")
    cost: dict[str, float] = json.loads((folder / "cost.json").read_text())
    cost["num_jobs"] = done.stderr.count("checkpoint head") + done.stdout.count("checkpoint head")
    return cost


def build_project(code: Path, *, num_splits: int) -> None:
    """Write the project in the working folder: all that heads are trained from, with the records of its jobs."""
    config = yaml.safe_load((REPOSITORY / "config/ucf101_5.yaml").read_text())
    write_videos()
    config["dataset"] = {"name": "heads", "layout": "table", "root": "videos", "lists": "videos.csv", "num_shards": 4}
    for experiment in config["experiments"].values():
        experiment["splits"] = experiment["splits"][:num_splits]
    for variant in config["appearance"].values():
        variant["model"] = f"local-dir:{ENCODER}"
    Path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    settings = check_config(config)
    frame = build_manifest(settings.dataset, memo=Path("results/.cache/fingerprints/heads.tsv"))
    write_manifest(frame, Path("results/heads/manifest.tsv"))
    plan = open_plan(settings, scripts=code / "workflow/scripts")
    by_rule: dict[str, list[Job]] = {}
    for job in plan.jobs:
        by_rule.setdefault(job.rule, []).append(job)
    for job in by_rule["motion_network"]:
        write_network(job)
    for job in by_rule["motion_embedding_index"]:
        model = by_rule["motion_network"][by_rule["motion_embedding_index"].index(job)].outputs["model"]
        write_features(Path(job.outputs["index"]), network=Path(model), seed=int(job.wildcards["seed"]))
    for job in by_rule["appearance_index"]:
        frames = getattr(settings.appearance[job.wildcards["variant"]].frames, "count", 1)
        write_features(Path(job.outputs["index"]), num_frames=frames)
    for job in by_rule["motion_index"]:
        write_features(Path(job.outputs["index"]), width=2)
    note_done([job for job in plan.jobs if job.rule in ABOVE_HEADS], code=code)
    Path("targets.json").write_text(json.dumps([file for job in by_rule["head"] for file in job.files]))


def note_done(jobs: Sequence[Job], *, code: Path) -> None:
    """Write the records of jobs, and tell Snakemake that they are done."""
    targets = []
    for job in jobs:
        for path in map(Path, job.files):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        targets += job.files
        write_record(job.files, rule=job.rule, params=job.params(), reads=job.read_files())
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--configfile",
        "config.yaml",
        "--touch",
        "--forceall",
        "--quiet",
    ]
    command += ["--snakefile", str(code / "Snakefile"), "--workflow-profile", str(code / "workflow/profiles/default")]
    done = subprocess.run([*command, "--", *targets], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-3000:])


def write_videos() -> None:
    """Write empty files in place of the videos, and their table. The splits draw their validation videos."""
    lines = ["video,class,group,split_1,split_2,split_3"]
    for number in range(NUM_VIDEOS):
        label, group = number % NUM_CLASSES, number // NUM_CLASSES % NUM_GROUPS
        subsets = ["test" if group % 3 == split else "val" if group % 10 == 9 else "train" for split in range(3)]
        path = Path(f"videos/class{label}/v_g{group:02d}_{number}.avi")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video %d" % number)
        lines.append(",".join([str(path.relative_to("videos")), f"class{label}", f"c{label}g{group:02d}", *subsets]))
    Path("videos.csv").write_text("\n".join(lines) + "\n")


def write_network(job: Job) -> None:
    """Write a network of one number, trained on the train and val videos of its split."""
    split = int(job.wildcards["split"])
    parts = [load_labels(Path("results/heads/manifest.tsv"), split=split, subset=name) for name in LEARNED]
    weights = {"w": np.array([split, int(job.wildcards["seed"])], np.float32)}
    about = {
        "split": split,
        "trained_on": sorted(video for part in parts for video in part.video_ids),
        "trained_on_groups": sorted({group for part in parts for group in part.groups.values()}),
        DIGEST_KEY: digest_tensors(weights),
    }
    path = Path(job.outputs["model"])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={"moclip": json.dumps(about)})


def write_features(
    index: Path, *, network: Path | None = None, num_frames: int = 1, width: int = APPEARANCE_WIDTH, seed: int = 0
) -> None:
    """Write the shards and the index of a feature set: around a center for each class, and noise."""
    manifest = Path("results/heads/manifest.tsv")
    parameters: dict[str, Any] = {
        "set": index.parent.as_posix(),
        "network": read_network_digest(network) if network else "",
    }
    width = MOTION_WIDTH if network else width
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((NUM_CLASSES, width))

    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        for video in videos:
            label = int(video.video_id.split("/")[0].removeprefix("class"))
            values = centers[label] + 4 * rng.standard_normal((num_frames, width))
            yield Row(
                video_id=video.video_id,
                row_key=extractor.row_key(video),
                values={"embedding": values.astype(np.float32), "logits": values[:1, :NUM_CLASSES].astype(np.float32)},
            )

    extractor = Extractor(
        name="made-up",
        version=1,
        parameters=parameters,
        fields=(Field(name="embedding", kind="packed"), Field(name="logits", kind="packed")),
        row_key=lambda video: f"{video.fingerprint}{index.parent}",
        extract=extract,
        reads_videos=False,
        provenance={"state": "trained"},
    )
    root = Path("videos")
    places = {"dataset": "heads", "root": root, "num_shards": 4, "cache_dir": Path("results/.cache")}
    jobs = [ShardJob(**places, shard=shard, output=index.with_name(f"shard-{shard}.h5")) for shard in range(4)]
    grouped = group_videos(manifest, root=root)

    def build(job: ShardJob) -> None:
        extract_shard(extractor, videos=grouped[job.shard], job=job)

    for job in jobs:
        build(job)
    index_shards(extractor, manifest=manifest, jobs=jobs, output=index, rebuild=build)


if __name__ == "__main__":
    main()
