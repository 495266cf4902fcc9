"""Note which process runs in a folder, and explain Snakemake's lock by it.

Snakemake's locks outlive a killed run and do not name the process that made them. The note does, so that on the same
machine a run that is alive can be distinguished from one that was killed.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

from moclip.core.machine import process_begun, read_boot

_LOCKS = Path(".snakemake/locks")
_NOTE = Path(".snakemake/moclip-run")


def note_run() -> None:
    """Write the note of this process; the note only helps to explain a lock, so a failure is no error."""
    words = [socket.gethostname(), os.getpid(), process_begun(os.getpid()), read_boot()]
    with suppress(OSError):
        _NOTE.write_text("\n".join(map(str, words)) + "\n", encoding="utf-8")


def is_locked() -> bool:
    """Return whether another run holds the working directory, or left its locks behind."""
    return _LOCKS.is_dir() and any(_LOCKS.iterdir())


def explain_lock() -> str:
    """Return what to do about the lock of the working directory, in a line, or "" if it is free."""
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
