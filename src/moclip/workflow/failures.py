"""Explain why a run failed or cannot start: its failed jobs by their logs, and the lock of the folder by a note.

Snakemake's locks outlive a killed run and do not name the process that made them. The note does, so that on the same
machine a run that is alive can be distinguished from one that was killed.
"""

import os
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moclip.core.machine import process_begun, read_boot

_LOCKS = Path(".snakemake/locks")
_NOTE = Path(".snakemake/moclip-run")

# A line of this library in the log of a job, the last of which is the reason. Slurm explains in the first of its lines.
_OWN = re.compile(r"^(?:internal )?error: (.+)", flags=re.MULTILINE)
_SLURMS = re.compile(r"^slurmstepd\S*: error: (.+)", flags=re.MULTILINE)

# The report of a failed job in the log of the engine: the exception before it, and its lines.
_ENGINES = re.compile(
    r"(?P<cause>^\w+(?:Exception|Error):?[^\n]*\n(?:(?!\[\w{3} )[^\n]+\n)*)?"
    r"^\[\w{3} [^\n]*\]\nError in \w+ [^\n]*\n(?P<lines>(?: +[^\n]*\n)+)",
    flags=re.MULTILINE,
)
_MESSAGE = re.compile(r"^ +message: (?!None)(.+)", flags=re.MULTILINE)
_MISSING = re.compile(
    r"^MissingOutputException in [^\n]*\n[^\n]*\n(?P<files>(?:[^\n]+ \(missing[^\n]*\n)+)", re.MULTILINE
)
_KILLED = "killed by the signal {}; if memory was short, give it more"
_ENDS = (
    (re.compile(r"died with <Signals\.(\w+): \d+>"), _KILLED),
    (re.compile(r"non-zero exit status (?:137|-9)\b"), _KILLED.format("SIGKILL")),
    (re.compile(r"non-zero exit status (\d+)"), "it ended with exit code {} and without a message"),
)


@dataclass(frozen=True, kw_only=True, order=True)
class FailedJob:
    """A job that failed in its last attempt: its rule with its wildcards, its log, and its outputs."""

    name: str
    log: str
    outputs: tuple[str, ...] = ()


def explain_failures(jobs: Iterable[FailedJob], *, run_logs: Sequence[str]) -> str:
    """Return a line for each failed job with the reason and its log, sorted by name, or "" if there is none.

    `run_logs` are the logs of the main process, which name the logs that Slurm wrote.
    """
    lines = []
    run_log = "".join(map(_read_log, run_logs))
    for job in sorted(jobs):
        reason = _find_reason(job.log, others=_find_slurm_logs(job.log, run_log=run_log))
        reason = reason or _find_engines_reason(job, run_log=run_log) or "no reason given"
        lines.append(f"  {job.name}: {reason} (log: {job.log})")
    if not lines:
        return ""
    head = f"\n{len(lines)} jobs failed in their last attempt:"
    return "\n".join([head, *lines, "Computed rows and models are kept: the same command resumes from there.\n"])


def _find_reason(log: str, *, others: Sequence[str]) -> str:
    own = _OWN.findall(_read_log(log))[-1:]
    found = own or [line for path in others for line in _SLURMS.findall(_read_log(path))]
    return found[0].strip("* ") if found else ""


def _find_engines_reason(job: FailedJob, *, run_log: str) -> str:
    # The words of the engine: its message, the end of the process, or the outputs that it waited for.
    for found in reversed(list(_ENGINES.finditer(run_log))):
        if job.log in found["lines"]:
            cause = found["cause"] or ""
            words = [text.format(*end.groups()) for mark, text in _ENDS if (end := mark.search(cause))]
            told = _MESSAGE.findall(found["lines"]) + words + cause.splitlines()[1:]
            return str(told[0]).strip() if told else ""
    for found in reversed(list(_MISSING.finditer(run_log))):
        missing = [line.rpartition(" (missing")[0] for line in found["files"].splitlines()]
        if set(missing) & set(job.outputs):
            return f"it ended without an error and without its output {missing[0]}; give `--latency-wait 60`"
    return ""


def _find_slurm_logs(log: str, *, run_log: str) -> list[str]:
    # The logs that are named with the job's own log at its last failure.
    blocks = [block for block in re.split(r"^\[[A-Z]", run_log, flags=re.MULTILINE) if "Error in " in block]
    named = [re.findall(r"[^\s,]+\.log", block) for block in blocks]
    return [found for found in next((logs for logs in reversed(named) if log in logs), []) if found != log]


def _read_log(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def note_run() -> None:
    """Write the note of this process; the note only helps to explain a lock, so a failure is no error."""
    words = [socket.gethostname(), os.getpid(), process_begun(os.getpid()), read_boot()]
    with suppress(OSError):
        _NOTE.write_text("\n".join(map(str, words)) + "\n", encoding="utf-8")


def is_locked() -> bool:
    """Return whether another run holds the working directory, or left its locks behind."""
    return _LOCKS.is_dir() and any(_LOCKS.iterdir())


def explain_lock() -> str:
    """Return a line about the lock of the working directory and how to release it, or "" if it is free."""
    try:
        if not is_locked():
            return ""
        host, process, begun, boot = _NOTE.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    if host != socket.gethostname():
        found = f"process {process} on {host}, which may still run: check there before you unlock"
    elif boot == read_boot() and begun and process_begun(process) == begun:
        found = f"process {process}, which still runs: wait for it"
    else:
        found = (
            f"process {process}, which was killed: give the same command once with `--unlock`, then again without it"
        )
    return f"note: this folder is locked by {found}"
