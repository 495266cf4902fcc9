"""Whether a process that was noted is still the one of its number. Reads Linux's /proc; elsewhere nothing is known."""

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
