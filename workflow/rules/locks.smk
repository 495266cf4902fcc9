# Who locks this folder. Snakemake's own locks outlive a run that was killed and say nothing of who made them; it asks for
# `--unlock` then, and cannot know whether another run is alive. The note below can, on the same machine.
import socket

from moclip.processes import process_begun, read_boot

LOCKS = Path(".snakemake/locks")
RUNNING = Path(".snakemake/moclip-run")


def note_run():
    """Note who runs, after Snakemake took its locks."""
    words = [socket.gethostname(), os.getpid(), process_begun(os.getpid()), read_boot()]
    try:
        RUNNING.write_text("\n".join(map(str, words)) + "\n")
    except OSError:  # the note only helps to explain a lock
        return


def is_locked():
    """Whether another run holds this folder, or left its locks behind."""
    return LOCKS.is_dir() and any(LOCKS.iterdir())


def explain_locks():
    """Say what to do where another run holds this folder, or left its locks behind."""
    try:
        if not is_locked():
            return
        host, process, begun, boot = RUNNING.read_text().splitlines()
    except (OSError, ValueError):
        return
    if host != socket.gethostname():
        found = f"process {process} on {host}, which may still run: see there before you unlock"
    elif boot == read_boot() and begun and process_begun(process) == begun:
        found = f"process {process}, which still runs: wait for it"
    else:
        found = (
            f"process {process}, which was killed: give the same command once with `--unlock`, then again without it"
        )
    print(f"note: this folder is locked by {found}", file=sys.stderr)


if workflow.is_main_process:
    explain_locks()
