"""Write files atomically."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_atomically(path: Path, *, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a unique hidden name next to `path`; when the block ends well, flush that file to the disk and rename it.

    `suffix` ends that name, for a writer that goes by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
