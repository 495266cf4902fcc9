"""On a real Slurm: the same bytes as here, and nothing lost of jobs that are cancelled, preempted or out of limits."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from moclip.video.writer import write_video
from tests.results import read_without_times
from tests.slurm.cluster import DAEMONS, Cluster, SlurmJob
from tests.slurm.conftest import REPOSITORY, Main, SlurmProject, build_toy, read_counts, read_metrics
from tests.slurm.guard import list_processes
from tests.workflow.conftest import Project, toy_config

pytestmark = [pytest.mark.workflow, pytest.mark.slurm]

NUM_VIDEOS = 320  # of a shard, roughly: rows are put by 64 at a time, so that there is something to resume from
TEXTS = "results/toy/text/{}/class_embeddings.safetensors"
TARGETS = ("results/toy/motion/original/index.json", "results/toy/appearance/clip/shard-0.h5")
# One variant starts too small, the other stays so.
TEXT_MB = "text:mem_mb=(400 if wildcards.variant == 'words' else 40) * 2 ** (attempt - 1)"


def write_long_videos(root: Path) -> None:
    """Write videos that are one film each time, told apart by what follows its end."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (50, 100, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    film = root.parent / "film.avi"
    frames = [texture[t % 60 : t % 60 + 240, t % 200 : t % 200 + 320] for t in range(250)]
    write_video(film, frames, codec="mpeg4", frame_rate=25, gop=12, max_b_frames=0)
    for class_name in ("One", "Two"):
        (root / class_name).mkdir(parents=True)
        for number in range(NUM_VIDEOS):
            tail = f"{class_name} {number}".encode()
            (root / class_name / f"v{number:03d}.avi").write_bytes(film.read_bytes() + tail)


@pytest.fixture(scope="module")
def troubled(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> "Troubled":
    """A run whose five jobs all meet with something; its time limit passes while other tests run."""
    folder = tmp_path_factory.mktemp("troubled") / "project"
    folder.mkdir()
    write_long_videos(folder / "videos")
    config = toy_config()
    config["appearance"]["clip"]["device"] = "cpu"  # nobody waits for a GPU
    # Slow enough to be stopped between its first rows and its last.
    config["appearance"]["clip"]["frames"] = {"policy": "uniform", "count": 16}
    config["text"]["hopeless"] = config["text"]["words"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    project = SlurmProject(folder=folder, cluster=cluster)
    main = project.start(
        *("--set-resources", "motion_shard:runtime=1 * 2 ** (attempt - 1)"),
        *(TEXT_MB, "appearance_shard:slurm_partition=spare", "appearance_shard:mem_mb=40000"),
        *("--", *TARGETS, TEXTS.format("words"), TEXTS.format("hopeless")),
    )
    late, cancelled, preempted = "motion_shard_wildcards_original_0", "motion_shard_wildcards_original_1", "appearance"
    stalled: dict[str, SlurmJob] = {}

    def stall_all() -> bool:
        for words, pool in ((late, "motion/*/toy-0"), (cancelled, "motion/*/toy-1"), (preempted, "appearance/*/toy-0")):
            if words not in stalled and list(folder.glob(f"results/.cache/{pool}-of-2.part-*.h5")):
                stalled[words] = project.wait_for_running(words, main=main)
                stop_script(stalled[words])
        return len(stalled) == 3

    project.wait_for(stall_all, main=main)
    cluster.run("scancel", stalled[cancelled].id)
    cluster.run("sbatch", "--partition=cpu", "--mem=40000", "--output=/dev/null", "--wrap=true")
    victim = stalled[preempted].id

    def is_requeued() -> bool:
        return any(job.id == victim and job.fields["Reason"] == "BeginTime" for job in project.jobs())

    project.wait_for(is_requeued, main=main)
    cluster.run("scontrol", "update", f"jobid={victim}", "StartTime=now")  # Slurm itself would wait for two minutes
    return Troubled(project=project, main=main)


class Troubled:
    def __init__(self, *, project: SlurmProject, main: Main) -> None:
        self.project = project
        self.main = main

    def attempts(self, words: str) -> list[SlurmJob]:
        """Return the jobs of a rule, or of one of its shards, in order."""
        return [job for job in self.project.jobs() if words in job.comment]


def stop_script(job: SlurmJob) -> None:
    """Let the script of a job stand still, as it does when a file server hangs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"SLURM_JOB_ID={job.id}\0".encode() in (process / "environ").read_bytes()
            is_script = b"/.snakemake/scripts/" in (process / "cmdline").read_bytes()
        except OSError:
            continue
        if is_ours and is_script:
            os.kill(int(process.name), signal.SIGSTOP)


def digest_files(results: Path) -> dict[str, str]:
    """Return the digest of every file of results that holds features, weights, predictions or tables."""
    kinds = {".h5", ".json", ".tsv", ".safetensors"}
    files = [path for path in results.rglob("*") if path.suffix in kinds]
    return {str(path.relative_to(results)): hashlib.sha256(read_without_times(path)).hexdigest() for path in files}


@pytest.fixture(scope="module")
def toy(
    cluster: Cluster, troubled: "Troubled", finished: Project, tmp_path_factory: pytest.TempPathFactory
) -> SlurmProject:
    """The toy project, run to its end on Slurm after its main process was cancelled once and killed once.

    `troubled` comes before it, and `finished` between them, so that the time limit passes meanwhile.
    """
    project = build_toy(tmp_path_factory.mktemp("slurm") / "project", cluster=cluster)

    main_job = project.submit()
    project.wait_for_running("motion_shard")
    cluster.run("scancel", main_job)
    project.wait_for(lambda: {job.state for job in project.jobs()} <= {"CANCELLED", "COMPLETED"})
    states = {job.comment: job.state for job in project.jobs()}
    assert states.pop("rule_manifest") == "COMPLETED"
    assert "CANCELLED" in states.values()
    # The next run need not unlock.
    project.wait_for(lambda: not list(project.folder.glob(".snakemake/locks/*")))

    main = project.start()
    project.wait_for_running("motion_shard", main=main)
    main.kill()
    locked = project.start()
    assert locked.finish() != 0
    assert "--unlock" in locked.output
    assert project.start("--unlock").finish() == 0
    main = project.start()
    assert main.finish() == 0, main.output
    return project


def test_slurm_gives_the_bytes_and_metrics_of_a_run_here(toy: SlurmProject, finished: Project) -> None:
    expected, found = finished.results(), toy.folder / "results/toy"
    assert read_metrics(found) == read_metrics(expected) != {}
    assert digest_files(found) == digest_files(expected)
    assert len([name for name in digest_files(found) if name.endswith(".h5")]) == 6


def test_a_second_run_submits_nothing(toy: SlurmProject) -> None:
    before = len(toy.jobs())
    main = toy.start()
    assert main.finish() == 0
    assert "Nothing to be done" in main.output
    assert len(toy.jobs()) == before


def test_a_job_has_the_gpu_that_its_rule_wants_and_the_others_have_none(toy: SlurmProject) -> None:
    jobs = [job for job in toy.jobs() if job.state == "COMPLETED"]
    wants = {job.comment: job for job in jobs if "TresPerJob" in job.fields}
    assert {comment.split("_wildcards")[0] for comment in wants} == {"rule_appearance_shard", "rule_text"}
    assert {re.sub("[:/]", " ", job.fields["TresPerJob"]) for job in wants.values()} == {"gres gpu 1"}
    assert {job.fields["Partition"] for job in wants.values()} == {"gpu"}
    assert {job.fields["Partition"] for job in jobs if job.comment not in wants} == {"cpu"}


def test_rules_that_take_seconds_need_no_slurm_job(toy: SlurmProject) -> None:
    comments = [job.comment for job in toy.jobs() if job.state == "COMPLETED"]
    assert {comment.split("_wildcards")[0] for comment in comments} >= {"rule_motion_shard", "rule_datacard"}
    assert not [comment for comment in comments if re.search("index|evaluate|costs|summary|report|rejects", comment)]


def test_a_job_asks_for_the_time_memory_and_processors_of_its_shard(toy: SlurmProject) -> None:
    job = next(job for job in toy.jobs() if job.comment.startswith("rule_appearance_shard"))
    assert (job.minutes, job.tres["cpu"]) == (6, "4")
    assert 6000 < int(job.tres["mem"].removesuffix("M")) < 6100


def test_a_job_out_of_time_gets_twice_as_much_and_takes_up_its_rows(troubled: Troubled) -> None:
    troubled.main.finish()
    first, second = troubled.attempts("motion_shard_wildcards_original_0")
    assert (first.state, second.state) == ("TIMEOUT", "COMPLETED")
    assert (first.minutes, second.minutes) == (1, 2)
    assert_resumed(troubled, "motion/original/shard-0.log")


def test_a_cancelled_job_is_retried_and_takes_up_its_rows(troubled: Troubled) -> None:
    troubled.main.finish()
    states = [job.state for job in troubled.attempts("motion_shard_wildcards_original_1")]
    assert states == ["CANCELLED", "COMPLETED"]
    assert_resumed(troubled, "motion/original/shard-1.log")


def test_a_preempted_job_goes_back_into_the_queue_and_takes_up_its_rows(troubled: Troubled) -> None:
    troubled.main.finish()
    (job,) = troubled.attempts("appearance_shard")
    assert (job.state, job.fields["Partition"]) == ("COMPLETED", "spare")
    assert int(job.fields["Restarts"]) >= 1
    assert_resumed(troubled, "appearance/clip/shard-0.log")


def test_a_job_out_of_memory_gets_twice_as_much(troubled: Troubled) -> None:
    troubled.main.finish()
    jobs = troubled.attempts("rule_text_wildcards_words")
    assert jobs[-1].state == "COMPLETED"
    assert [job.tres["mem"] for job in jobs] == ["400M", "800M", "1600M"][: len(jobs)]
    assert len(jobs) > 1
    assert "exceeded memory limit" in (troubled.project.folder / jobs[0].fields["StdOut"]).read_text()


def assert_resumed(troubled: Troubled, log: str) -> None:
    computed, reused = read_counts(troubled.project.folder / "logs/toy" / log)
    assert min(computed, reused) > 0
    assert abs(computed + reused - NUM_VIDEOS) < NUM_VIDEOS / 2, "every row once"


def test_what_no_attempt_could_finish_is_named_at_the_end_with_its_reason(troubled: Troubled) -> None:
    assert troubled.main.finish() == 1
    assert [job.tres["mem"] for job in troubled.attempts("rule_text_wildcards_hopeless")] == ["40M", "80M", "160M"]
    end = troubled.main.output[troubled.main.output.index("failed in their last attempt") :]
    assert re.findall(r"^  (\S+ \S+):", end, flags=re.MULTILINE) == ["text variant=hopeless"]
    assert re.search(r"exceeded memory limit .* \(log: logs/toy/text/hopeless.log\)", end)


def test_nothing_of_slurm_outlives_tests_that_are_killed(cluster: Cluster) -> None:
    code = """
        import time
        from tests.slurm.cluster import run_cluster
        with run_cluster() as cluster:
            started = cluster.folder / "started"
            cluster.run("sbatch", "--output=/dev/null", f"--wrap=touch {started}; sleep 600 & wait")
            while not started.exists():
                time.sleep(0.1)
            time.sleep(1)
            print(cluster.folder, flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        commands = [Path(f"/proc/{process}/cmdline").read_bytes() for process in list_processes(folder)]
        tests.kill()
    for name in (*DAEMONS, "slurmstepd", "sleep"):
        assert any(name.encode() in command for command in commands), name
    deadline = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < deadline, "the guard has not ended"
        time.sleep(0.1)
    assert list_processes(folder) == []


def test_the_plugin_needs_nothing_that_the_lock_lacks(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(cluster.environment["PYTHONPATH"].split(os.pathsep)[0])
    for name in ("snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep"):
        for needed in map(Requirement, distribution(name).requires or []):
            assert needed.specifier.contains(version(needed.name)), f"{name} needs {needed}"
