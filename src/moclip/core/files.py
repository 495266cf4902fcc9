"""Write files atomically."""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_atomically(path: Path, *, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a unique hidden name next to `path`; when the block ends well, flush that file to the disk and rename it.

    The file gets the mode that the umask gives to any new file, whatever its writer does: safetensors writes files that
    only their owner can read. `suffix` ends the name, for a writer that goes by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{suffix}")
    try:
        mode = _new_file_mode(temporary)
        yield temporary
        with temporary.open("rb") as written:
            if os.fstat(written.fileno()).st_mode != mode:
                os.fchmod(written.fileno(), stat.S_IMODE(mode))
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file_mode(path: Path) -> int:
    # The umask can only be read by setting it, for all threads of the process.
    path.touch(exist_ok=False)
    mode = path.stat().st_mode
    path.unlink()
    return mode
