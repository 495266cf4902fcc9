"""The machine and the code that runs: GPUs, processes and the commit, found without importing heavy packages."""

import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path


def process_begun(process: int | str) -> str:
    """Return when a process began, in ticks since the machine did, or "" where there is no such process."""
    try:
        return Path("/proc", str(process), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def processor_seconds() -> float:
    """Return the processor time of this process and its children: those that have ended, and those that still run."""
    ended = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used = sum(usage.ru_utime + usage.ru_stime for usage in ended)
    tick = os.sysconf("SC_CLK_TCK")
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            for child in listed.read_text(encoding="ascii").split():
                with suppress(OSError, IndexError):
                    words = Path("/proc", child, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                    used += (int(words[11]) + int(words[12])) / tick
    return used


def read_boot() -> str:
    """Return what names this start of the machine, or "" where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_commit(folder: Path) -> str:
    """Return the commit of the checkout that holds `folder`, with `-dirty` behind it where files differ from it.

    Outside a checkout, or without git, it is `unknown`.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def has_gpu() -> bool:
    """Return whether the operating system shows an NVIDIA GPU, bare or through WSL; torch may still refuse it."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
