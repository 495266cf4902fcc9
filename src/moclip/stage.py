"""The frame around one job of the workflow: its log file, its signals, and how it says that it failed."""

import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

from moclip.errors import MoclipError


@contextmanager
def stage(log: str | Path) -> Iterator[None]:
    """Send everything that the block prints, warns and logs to a file, and turn its failures into one line.

    A fault that the user can mend ends the process with 2 and one line here and in the log; any other fault with 1, its
    traceback in the log alone. SIGTERM unwinds the block, so that what was computed is kept, and ends it with 143.
    """
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    console = sys.stderr
    signal.signal(signal.SIGTERM, _stop)
    with path.open("w", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        logging.basicConfig(stream=file, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
        logging.captureWarnings(True)
        try:
            yield
        except MoclipError as error:
            print(f"error: {error}", file=file)
            print(f"error: {error}", file=console)
            sys.exit(2)
        except Exception as error:
            traceback.print_exc(file=file)
            print(f"internal error: {type(error).__name__}: {error}", file=file)
            print(f"internal error: {type(error).__name__}: {error}; traceback in {path}", file=console)
            sys.exit(1)


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
