"""Ends every process of a Slurm of the tests when the process that started it is gone, however it went.

A killed test run stops no daemon, and Slurm's job steps outlive even the daemons. This process waits for the end of its
input, which the system closes with the one who holds the other end, and ends whatever carries the folder's name.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path


def list_processes(folder: Path) -> list[int]:
    """Return the processes that carry the folder's name in their command or their environment; a job's all do."""
    name = os.fsencode(folder)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            carries = any(name in (process / part).read_bytes() for part in ("cmdline", "environ"))
        except OSError:  # it has ended, or is another user's
            continue
        if carries and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def end_processes(folder: Path, *, seconds: float = 20) -> None:
    """Kill every process of the folder, and those that these start meanwhile."""
    deadline = time.monotonic() + seconds
    while (found := list_processes(folder)) and time.monotonic() < deadline:
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


if __name__ == "__main__":
    guarded = Path(sys.argv[1])
    sys.stdin.buffer.read()
    end_processes(guarded)
    shutil.rmtree(guarded, ignore_errors=True)
