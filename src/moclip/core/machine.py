"""The machine and the code that runs: GPUs, processes and the commit, found without importing heavy packages."""

import subprocess
from pathlib import Path


def process_begun(process: int | str) -> str:
    """Return when a process began, in ticks since the machine did, or "" where there is no such process."""
    try:
        return Path("/proc", str(process), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


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
