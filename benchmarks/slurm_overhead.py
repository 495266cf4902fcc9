"""What Slurm and starting cost, against what is computed, in the feature stages of 64 shards of 200 videos.

    python benchmarks/slurm_overhead.py                                    # measures the parts on a Slurm of its own
    python benchmarks/slurm_overhead.py --seconds motion=0.1 appearance=0.2 motion_embedding=1.5

The parts are measured on a real Slurm of one node (tests/slurm/cluster.py installs and starts it; the plugin comes with
`make slurm`) with the profile as it is. A group's own part is the length of the Slurm job without its members' scripts,
on a data set of the full number of videos, since each start of Snakemake reads the manifest. A member's part is all that
its script takes on a shard of two videos of 12 tiny frames. Queueing is the time from sbatch to the start of the job on
an idle node. How late the end of a job is noticed follows from the plugin's rule: the first look after
`slurm-init-seconds-before-status-checks`, each later one after 10 s more than the one before, up to 180; that another
job's end starts this anew is left out.

`--seconds` are those of one video in each stage, on the machines that will compute: the sum of column `s` of
benchmarks/results/<dataset>/<stage>/ over its number of videos, after a local run. Groups run side by side; the stages
of one phase do, and the phases one after the other.
"""

import argparse
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
TARGETS = {
    "motion": "results/toy/motion/original/shard-{}.h5",
    "appearance": "results/toy/appearance/clip/shard-{}.h5",
}
# The frozen motion network starts as the encoder does: torch, a model, its weights.
STARTS_LIKE = {"motion": "motion", "appearance": "appearance", "motion_embedding": "appearance"}
GROUPS = {"motion": "motion", "appearance": "appearance", "motion_embedding": "embedding"}
PHASES = (("motion", "appearance"), ("motion_embedding",))


@dataclass(frozen=True)
class Parts:
    """Seconds: in the queue, of a group beside its members, and of each member beside its videos."""

    queue: float
    group: float
    member: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", nargs="+", default=[], metavar="STAGE=SECONDS", help="of one video")
    options = parser.parse_args()
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    sizes = {stage: profile["group-components"][group] for stage, group in GROUPS.items()}
    install()
    with tempfile.TemporaryDirectory() as name, run_cluster() as cluster:
        many = build_project(Path(name) / "many", num_videos=NUM_SHARDS * VIDEOS_OF_SHARD)
        few = build_project(Path(name) / "few", num_videos=NUM_SHARDS * 2)
        queue, group, _ = run_group("motion", size=sizes["motion"], project=many, cluster=cluster)
        members = {stage: run_group(stage, size=sizes[stage], project=few, cluster=cluster)[2] for stage in TARGETS}
    parts = {stage: Parts(queue=queue, group=group, member=member) for stage, member in members.items()}
    print(f"{NUM_SHARDS} shards of {VIDEOS_OF_SHARD} videos; load of the machine {os.getloadavg()[1]:.1f}")
    for stage, found in parts.items():
        print(f"{stage:11} queue {found.queue:.1f} s, a group {found.group:.1f} s, each member {found.member:.1f} s")
    seconds = {stage: float(value) for stage, value in (text.split("=") for text in options.seconds)}
    if seconds:
        print_shares(seconds, parts=parts, sizes=sizes, first_look=profile["slurm-init-seconds-before-status-checks"])


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


def run_group(stage: str, *, size: int, project: Path, cluster: Cluster) -> tuple[float, float, float]:
    """Return the seconds of a full group in the queue and of its own, and the mean of its members' scripts."""
    before = {job.id for job in cluster.jobs()}
    targets = [TARGETS[stage].format(shard) for shard in range(size)]
    options = ["--workflow-profile", str(PROFILE), "--latency-wait", "5"]
    run_snakemake([*options, "--", *targets], folder=project, cluster=cluster)
    (job,) = [job for job in cluster.jobs() if job.id not in before]
    benchmarks = [project / "benchmarks" / Path(target).with_suffix(".tsv") for target in targets]
    members = [float(path.read_text().splitlines()[1].split()[0]) for path in benchmarks]
    submitted, started, ended = (moment(job, field) for field in ("SubmitTime", "StartTime", "EndTime"))
    return started - submitted, ended - started - sum(members), sum(members) / size


def moment(job: SlurmJob, field: str) -> float:
    return datetime.fromisoformat(job.fields[field]).timestamp()


def print_shares(
    seconds: Mapping[str, float], *, parts: Mapping[str, Parts], sizes: Mapping[str, int], first_look: int
) -> None:
    """Print the share of the overhead in the nodes' time and in the wall time, by stage and over all."""
    print("stage              computing    group of  starting  noticed late | overhead: nodes' time  wall time")
    spent, walls = [0.0, 0.0], [0.0, 0.0]
    for phase in PHASES:
        longest = (0.0, 0.0)
        for stage in (stage for stage in phase if stage in seconds):
            size, found = sizes[stage], parts[STARTS_LIKE[stage]]
            work = size * VIDEOS_OF_SHARD * seconds[stage]
            start = found.group + size * found.member
            total = found.queue + start + work
            wall = first_seen(total, first_look=first_look)
            print(
                f"{stage:17} {work:8.0f} s  {size:8d} {start:7.0f} s {wall - total:11.0f} s |"
                f" {start / (start + work):20.1%} {1 - work / wall:10.1%}"
            )
            spent = [spent[0] + start / size, spent[1] + (start + work) / size]
            longest = max(longest, (wall, work))
        walls = [walls[0] + longest[0], walls[1] + longest[1]]
    print(f"all feature stages {spent[0] / spent[1]:63.1%} {1 - walls[1] / walls[0]:10.1%}")


def first_seen(seconds: float, *, first_look: int) -> float:
    """Return when the end of a job is noticed that ends after some seconds."""
    look, step = float(first_look), float(first_look)
    while look < seconds:
        step = min(step + 10, 180)
        look += step
    return look


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"measured in {time.monotonic() - began:.0f} s")
