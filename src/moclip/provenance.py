"""Which code made a result."""

import subprocess
from pathlib import Path


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
