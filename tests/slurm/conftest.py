"""The workflow on a real Slurm, through the profile that users take."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.cluster import Cluster, SlurmJob, install, run_cluster
from tests.workflow.conftest import REPOSITORY, toy_config, write_toy_videos

PROFILE = REPOSITORY / "workflow/profiles/slurm"
# The first look at a job comes after 40 s in the plugin and 10 in the profile, when toys have long finished.
OPTIONS = ["--snakefile", str(REPOSITORY / "Snakefile"), "--workflow-profile", str(PROFILE)]
OPTIONS += ["--configfile", "config.yaml", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]


@dataclass(frozen=True)
class SlurmProject:
    """A working folder whose workflow runs on the cluster."""

    folder: Path
    cluster: Cluster

    def start(self, *arguments: str) -> "Main":
        """Start the main process and return it; it writes to a log of its own."""
        command = [sys.executable, "-m", "snakemake", *OPTIONS, *arguments]
        log = self.folder / f"main-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.cluster.environment, stdout=file, stderr=subprocess.STDOUT
            )
        return Main(process=process, log=log)

    def submit(self) -> str:
        """Submit the main process as a job, as a user does, and return its number."""
        snakemake = Path(sys.executable).with_name("snakemake")
        options = ["--parsable", f"--chdir={self.folder}", f"--export=ALL,SNAKEMAKE={snakemake}"]
        return self.cluster.run("sbatch", *options, str(PROFILE / "main.sh"), *OPTIONS).strip()

    def jobs(self) -> list[SlurmJob]:
        """Return the jobs that were submitted from this folder, in order."""
        return [job for job in self.cluster.jobs() if job.folder == str(self.folder)]

    def wait_for(self, what: Callable[[], Any], *, main: "Main | None" = None, seconds: float = 180) -> Any:
        """Return what is awaited once it is there; fail when the main process ends first or time is up."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert main is None or main.process.poll() is None, main and main.output
            assert time.monotonic() < deadline, f"nothing after {seconds} s\n{main.output if main else self.jobs()}"
            time.sleep(0.05)
        return found

    def wait_for_running(self, words: str, *, main: "Main | None" = None) -> SlurmJob:
        """Return the first job of this folder that runs and whose comment holds these words."""

        def find() -> SlurmJob | None:
            return next((job for job in self.jobs() if job.state == "RUNNING" and words in job.comment), None)

        found: SlurmJob = self.wait_for(find, main=main)
        return found


@dataclass(frozen=True)
class Main:
    """The process that a user started."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def finish(self, *, seconds: float = 480) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"still running after {seconds} s\n{self.output}")

    def kill(self) -> None:
        """End it without a word to anybody."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running Slurm with the executor's plugin at its locked version, beside the environment under test."""
    if os.environ.get("MOCLIP_NO_SLURM") == "1":
        pytest.skip("MOCLIP_NO_SLURM=1")
    plugins = tmp_path_factory.mktemp("plugins")
    try:
        install()
        _install_plugins(plugins)
        with run_cluster() as cluster:
            paths = [str(plugins), str(REPOSITORY / "src")]
            yield Cluster(folder=cluster.folder, environment=cluster.environment | _environment(paths))
    except RuntimeError as error:
        pytest.fail(f"no Slurm to test on: {error}; MOCLIP_NO_SLURM=1 leaves these tests out")


def _environment(paths: list[str]) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _install_plugins(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--require-hashes",
        "--target",
        str(folder),
        "--requirement",
        str(REPOSITORY / "requirements-slurm.lock"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"pip cannot install the executor's plugin: {done.stderr.strip()[-500:]}")


def build_toy(folder: Path, *, cluster: Cluster) -> SlurmProject:
    """Return the toy project of the workflow's tests in a new folder."""
    folder.mkdir()
    write_toy_videos(folder / "videos")
    (folder / "config.yaml").write_text(yaml.safe_dump(toy_config()))
    return SlurmProject(folder=folder, cluster=cluster)


def read_counts(log: Path) -> tuple[int, int]:
    """Return how many rows a shard's last job computed, and how many it took from the cache."""
    line = next(line for line in log.read_text().splitlines() if "rows computed" in line)
    words = line.split("h5: ")[1].split()
    return int(words[0]), int(words[3])


def read_metrics(results: Path) -> dict[str, Any]:
    """Return the metrics of every run below a folder of results."""
    return {str(path.relative_to(results)): json.loads(path.read_text()) for path in results.rglob("metrics.json")}
