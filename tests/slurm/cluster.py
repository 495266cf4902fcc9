"""A real Slurm of one node, in a folder of its own: munged, slurmctld and slurmd, started and stopped here.

Nothing outside the folder is written and nothing is shared with a Slurm that the machine may have: key, sockets, ports
and configuration are its own. The environment alone tells the commands where it is. `guard` sees to it that nothing
outlives the process that started it.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("munge", "slurm-client", "slurmctld", "slurmd")
DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
CPUS, MEMORY_MB = 16, 64_000  # said, not had: jobs that wait for a video take no processor

# The devices stand in for GPUs: Slurm counts them and tells each job its own.
GRES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MinJobAge=7200
KillWait=30
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1-00:00:00 PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=gpu Nodes=ALL MaxTime=1-00:00:00 PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=spare Nodes=ALL MaxTime=1-00:00:00 PriorityTier=1 PreemptMode=REQUEUE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running Slurm; `environment` is what its commands need."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command of Slurm and return what it printed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60, cwd=self.folder
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> list["SlurmJob"]:
        """Return every job that Slurm remembers, in the order of submission."""
        text = self.run("scontrol", "--oneliner", "show", "jobs", check=False)
        lines = [line for line in text.splitlines() if line.startswith("JobId=")]
        return [SlurmJob(dict(part.split("=", 1) for part in line.split() if "=" in part)) for line in lines]

    def running(self, words: str) -> list["SlurmJob"]:
        """Return the running jobs whose comment, rule and wildcards, holds these words."""
        return [job for job in self.jobs() if job.state == "RUNNING" and words in job.comment]


@dataclass(frozen=True)
class SlurmJob:
    """What `scontrol show job` says of a job."""

    fields: dict[str, str]

    @property
    def id(self) -> str:
        """Its number."""
        return self.fields["JobId"]

    @property
    def state(self) -> str:
        """RUNNING, COMPLETED, TIMEOUT ..."""
        return self.fields["JobState"]

    @property
    def comment(self) -> str:
        """Rule and wildcards, as the executor notes them."""
        return self.fields.get("Comment", "")

    @property
    def folder(self) -> str:
        """The folder that it was submitted from."""
        return self.fields["WorkDir"]

    @property
    def minutes(self) -> int:
        """Its time limit."""
        days, _, clock = self.fields["TimeLimit"].rpartition("-")
        hours, minutes, _ = clock.split(":")
        return int(days or 0) * 1440 + int(hours) * 60 + int(minutes)

    @property
    def tres(self) -> dict[str, str]:
        """Processors, memory and GPUs that it asked for."""
        return dict(part.split("=", 1) for part in self.fields["TRES"].split(","))


def install() -> None:
    """Install Slurm where it is missing.

    Raises:
        RuntimeError: It cannot be installed here; the message says why.
    """
    missing = [name for name in DAEMONS if _find(name) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise RuntimeError(f"{', '.join(missing)} not found, and only root on Debian or Ubuntu can install them here")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", "--yes", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode != 0:
            raise RuntimeError(f"apt-get {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")


@contextmanager
def run_cluster() -> Iterator[Cluster]:
    """Start Slurm, and when the block ends stop every process that belongs to it.

    Raises:
        RuntimeError: A daemon ended, or the node did not come up; the message has the daemon's log.
    """
    folder = Path(tempfile.mkdtemp(prefix="moclip-slurm-"))
    with _guarded(folder), ExitStack() as daemons:
        _write_configuration(folder)
        path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        cluster = Cluster(folder=folder, environment=environment)
        socket_path = folder / "munge.socket"
        munge = ["--foreground", "--force", f"--socket={socket_path}", f"--key-file={folder / 'munge.key'}"]
        munge += [f"--pid-file={folder / 'munged.pid'}", f"--log-file={folder / 'munged.log'}"]
        munge += [f"--seed-file={folder / 'munged.seed'}"]
        _start(daemons, "munged", munge, cluster=cluster)
        _wait_until(socket_path.exists, cluster=cluster, what="munged's socket")
        _start(daemons, "slurmctld", ["-D", "-i"], cluster=cluster)
        _start(daemons, "slurmd", ["-D", "-N", socket.gethostname().split(".")[0]], cluster=cluster)
        _wait_until(lambda: "idle" in cluster.run("sinfo", "--noheader", check=False), cluster=cluster, what="the node")
        daemons.callback(_cancel_everything, cluster)
        yield cluster


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    # Ends with the block, or with this process, and takes every process of the folder and the folder along.
    command = [sys.executable, str(Path(__file__).with_name("guard.py")), str(folder)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        guard.communicate(timeout=60)


def _write_configuration(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    controller_port, node_port = _free_ports(2)
    text = CONFIG.format(
        host=socket.gethostname().split(".")[0],
        controller_port=controller_port,
        node_port=node_port,
        folder=folder,
        user=_user(),
        cpus=CPUS,
        memory_mb=MEMORY_MB,
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(GRES)
    # Snakemake drops every variable of Slurm inside of a job, the name of this configuration too.
    (folder / "bin").mkdir()
    for name in COMMANDS:
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_find(name)} "$@"\n')
        command.chmod(0o755)
    folder.chmod(0o755)  # munge talks only through folders that everybody may search


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for entry in sockets:
            entry.bind(("127.0.0.1", 0))
        return [entry.getsockname()[1] for entry in sockets]


def _user() -> str:
    import pwd  # noqa: PLC0415 - there is none where there is no Slurm either

    return pwd.getpwuid(os.geteuid()).pw_name


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _start(daemons: ExitStack, name: str, arguments: Sequence[str], *, cluster: Cluster) -> None:
    log = daemons.enter_context((cluster.folder / f"{name}.out").open("wb"))
    command = [_find(name) or name, *arguments]
    # Not in this terminal's group: Ctrl-C is for the tests, whose end stops the jobs first.
    process = subprocess.Popen(
        command,
        env=cluster.environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=cluster.folder,
        start_new_session=True,
    )
    daemons.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until(ready: Callable[[], bool], *, cluster: Cluster, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"{path.name}: {path.read_text()[-1000:]}" for path in sorted(cluster.folder.glob("*.out"))
            )
            raise RuntimeError(f"{what} did not come up in {seconds:.0f} s\n{logs}")
        time.sleep(0.1)


def _cancel_everything(cluster: Cluster) -> None:
    cluster.run("scancel", "--full", "--signal=KILL", "--state=RUNNING", f"--user={_user()}", check=False)
    cluster.run("scancel", f"--user={_user()}", check=False)
    deadline = time.monotonic() + 30
    while cluster.run("squeue", "--noheader", check=False) and time.monotonic() < deadline:
        time.sleep(0.2)
