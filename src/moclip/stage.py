"""The frame around one job of the workflow: its log file, its signals, and how it says that it failed."""

import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from moclip.errors import MoclipError
from moclip.system_faults import explain_system_fault


@contextmanager
def stage(log: str | Path) -> Iterator[None]:
    """Send everything that the block prints, warns and logs to a file, and turn its failures into one line.

    A fault that the user can mend ends the process with 2 and one line here and in the log; any other fault with 1, its
    traceback in the log alone. SIGTERM unwinds the block, so that what was computed is kept, and ends it with 143.
    A log that cannot be written, on a full disk say, is no fault by itself, and the line is printed all the same.
    """
    path = Path(log)
    console = sys.stderr
    signal.signal(signal.SIGTERM, _stop)
    with _open_log(path, console=console) as file, redirect_stdout(file), redirect_stderr(file):
        logging.basicConfig(stream=file, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
        logging.captureWarnings(True)
        try:
            yield
        except Exception as error:
            known = error if isinstance(error, MoclipError) else explain_system_fault(error)
            with suppress(OSError):
                traceback.print_exc(file=file) if known is not error else None
            kind = "internal error" if known is None else "error"
            line = f"{kind}: {f'{type(error).__name__}: {error}' if known is None else known}"
            with suppress(OSError):
                print(line, file=file)
            print(line if known else f"{line}; traceback in {path}", file=console)
            sys.exit(2 if known else 1)


@contextmanager
def _open_log(path: Path, *, console: TextIO) -> Iterator[TextIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        print(f"error: {explain_system_fault(error) or error}", file=console)
        sys.exit(2)
    try:
        yield file
    finally:
        logging.raiseExceptions = False  # what is still in the buffer of a log on a full disk has nowhere to go
        with suppress(OSError):
            file.close()


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
