"""What Slurm and starting cost, against what is computed, in the feature stages of 64 shards of 200 videos.

    python benchmarks/slurm_overhead.py                                    # measures the parts on a Slurm of its own
    python benchmarks/slurm_overhead.py --seconds motion=0.1 appearance=0.2 motion_embedding=1.5

The parts are measured on a real Slurm of one node (tests/slurm/cluster.py installs and starts it; the plugin comes with
`make slurm`) with the profile as it is:

- a job's own part: the Slurm job without its script, on a data set of the full number of videos, since each start of
  Snakemake reads the manifest
- a script's part: all that a script takes on a shard of two videos of 12 tiny frames
- queueing: from sbatch to the start of the job on an idle node

The first two are given in wall seconds and in processor seconds, which a busy machine lengthens less; the shares are
computed from the latter. How late the end of a job is noticed follows from the plugin's rule: the first look after
`slurm-init-seconds-before-status-checks`, each later one after 10 s more than the one before, up to 180. On average the
end comes in the middle between two looks; that another job's end starts this anew is left out.

`--seconds` are those of one video in each stage, on the machines that will compute: the sum of column `cpu_time` of
benchmarks/results/<dataset>/<stage>/ over its number of videos, after a local run. Jobs run side by side; the stages
of one phase do, and the phases one after the other.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.slurm.cluster import Cluster, SlurmJob, install, run_cluster  # noqa: E402 - it is beside this folder
from tests.workflow.conftest import toy_config, write_toy_videos  # noqa: E402

PROFILE = REPOSITORY / "workflow/profiles/slurm"
NUM_SHARDS, VIDEOS_OF_SHARD = 64, 200
PR_SET_CHILD_SUBREAPER = 36
TARGETS = {
    "motion": "results/toy/motion/original/shard-{}.h5",
    "appearance": "results/toy/appearance/clip/shard-{}.h5",
}
# The frozen motion network starts as the encoder does: torch, a model, its weights.
STARTS_LIKE = {"motion": "motion", "appearance": "appearance", "motion_embedding": "appearance"}
PHASES = (("motion", "appearance"), ("motion_embedding",))


@dataclass(frozen=True)
class Measured:
    """A job: seconds in the queue; wall and processor seconds without its script, and of its script."""

    queue: float
    job: tuple[float, float]
    script: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", nargs="+", default=[], metavar="STAGE=SECONDS", help="of one video")
    options = parser.parse_args()
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    install()
    adopt_orphans()
    with tempfile.TemporaryDirectory() as name, run_cluster() as cluster:
        many = build_project(Path(name) / "many", num_videos=NUM_SHARDS * VIDEOS_OF_SHARD)
        few = build_project(Path(name) / "few", num_videos=NUM_SHARDS * 2)
        own = run_job("motion", project=many, cluster=cluster)
        print("wall, processor seconds")
        print(f"queue {own.queue:.1f}; a job {own.job[0]:.1f}, {own.job[1]:.1f}", flush=True)
        found = {stage: run_job(stage, project=few, cluster=cluster) for stage in TARGETS}
    for stage, measured in found.items():
        print(f"each script of {stage} {measured.script[0]:.1f}, {measured.script[1]:.1f}")
    print(f"load of the machine {os.getloadavg()[1]:.1f}")
    starts = {stage: own.queue + own.job[1] + found[like].script[1] for stage, like in STARTS_LIKE.items()}
    seconds = {stage: float(value) for stage, value in (text.split("=") for text in options.seconds)}
    if seconds:
        print_shares(seconds, starts=starts, first_look=profile["slurm-init-seconds-before-status-checks"])


def build_project(folder: Path, *, num_videos: int) -> Path:
    folder.mkdir()
    write_toy_videos(folder / "toys", num_per_class=1)
    toys = [path.read_bytes() for path in sorted((folder / "toys").rglob("v*"))]
    for number in range(num_videos):
        path = folder / f"videos/class-{number % 2}/v{number:05d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(toys[number % len(toys)] + str(number).encode())
    config = toy_config()
    config["dataset"]["num_shards"] = NUM_SHARDS
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["--workflow-profile", str(REPOSITORY / "workflow/profiles/default"), "--cores", "1"]
    run_snakemake([*command, "--", "results/toy/manifest.tsv"], folder=folder)
    return folder


def run_snakemake(arguments: Sequence[str], *, folder: Path, cluster: Cluster | None = None) -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--configfile", "config.yaml", *arguments]
    paths = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")])
    environment = (cluster.environment if cluster else os.environ) | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"snakemake {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def adopt_orphans() -> None:
    """Let Slurm's job steps, which leave their parents, be counted here when they end."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) != 0:
        sys.exit("the kernel does not let this process adopt others")


def reap() -> float:
    """Return the processor seconds of the job steps that have ended, and of all that they started."""
    seconds = 0.0
    while True:
        process, _, usage = os.wait4(-1, os.WNOHANG)
        if process == 0:
            return seconds
        seconds += usage.ru_utime + usage.ru_stime


def run_job(stage: str, *, project: Path, cluster: Cluster) -> Measured:
    """Run the job of the first shard of a stage."""
    before = {job.id for job in cluster.jobs()}
    target = TARGETS[stage].format(0)
    options = ["--workflow-profile", str(PROFILE), "--latency-wait", "5"]
    reap()
    run_snakemake([*options, "--", target], folder=project, cluster=cluster)
    time.sleep(3)  # the job's steps end a little after it
    used = reap()
    (job,) = [job for job in cluster.jobs() if job.id not in before]
    row = read_benchmark(project / "benchmarks" / Path(target).with_suffix(".tsv"))
    wall, processor = row["s"], row["cpu_time"]
    submitted, started, ended = (moment(job, field) for field in ("SubmitTime", "StartTime", "EndTime"))
    return Measured(
        queue=started - submitted,
        job=(ended - started - wall, used - processor),
        script=(wall, processor),
    )


def read_benchmark(path: Path) -> dict[str, float]:
    """Return the numbers that Snakemake has written of a job."""
    names, values = (line.split("\t") for line in path.read_text().splitlines()[:2])
    return {name: float(value) for name, value in zip(names, values, strict=True) if name != "h:m:s"}


def moment(job: SlurmJob, field: str) -> float:
    return datetime.fromisoformat(job.fields[field]).timestamp()


def print_shares(seconds: Mapping[str, float], *, starts: Mapping[str, float], first_look: int) -> None:
    """Print the share of the overhead in the nodes' time and in the wall time, by stage and over all."""
    print("stage              computing  queue and start  noticed late | overhead: nodes' time  wall time")
    spent = {"start": 0.0, "all": 0.0}
    walls = {"work": 0.0, "all": 0.0}
    for phase in PHASES:
        longest = (0.0, 0.0)
        for stage in (stage for stage in phase if stage in seconds):
            work, start = VIDEOS_OF_SHARD * seconds[stage], starts[stage]
            late = mean_lateness(start + work, first_look=first_look)
            shares = f"{start / (start + work):21.1%} {1 - work / (start + work + late):10.1%}"
            print(f"{stage:18} {work:9.0f} s {start:14.0f} s {late:11.0f} s | {shares}")
            spent["start"] += start
            spent["all"] += start + work
            longest = max(longest, (start + work + late, work))
        walls["all"] += longest[0]
        walls["work"] += longest[1]
    print(f"{'all':59} | {spent['start'] / spent['all']:21.1%} {1 - walls['work'] / walls['all']:10.1%}")


def mean_lateness(seconds: float, *, first_look: int) -> float:
    """Return half the time between the looks at a job around its end."""
    look, step = float(first_look), float(first_look)
    while look < seconds:
        step = min(step + 10, 180)
        look += step
    return step / 2


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"measured in {time.monotonic() - began:.0f} s")
