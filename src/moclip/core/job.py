"""The frame around one job: log file, signals, error messages and exit code."""

import io
import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from moclip.core.machine import processor_seconds
from moclip.core.records import write_record
from moclip.errors import MoclipError, explain_system_fault

# A job that runs longer prints a line at this interval.
PROGRESS_SECONDS = 30.0


class JobLog(io.TextIOBase):
    """A log of whole lines. Of a progress bar, which redraws its line after a carriage return, it has the last state.

    Attributes:
        progress: The present state of the bar, or "".
    """

    def __init__(self, file: TextIO) -> None:
        """Take the open file of the log."""
        self._file = file
        self.progress = ""

    def write(self, text: str) -> int:
        """Write text; a carriage return starts another state of a bar."""
        redrawn, _, rest = text.rpartition("\r")
        if redrawn or text.startswith("\r"):
            state, end, rest = rest.partition("\n")
            self.progress = state.strip()
            rest = end + rest
        if rest.startswith("\n") and self.progress:
            self._file.write(self.progress)
            self.progress = ""
        self._file.write(rest)
        return len(text)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def fileno(self) -> int:
        """Return the number of the file, for processes that write to it."""
        return self._file.fileno()


@contextmanager
def _report_progress(name: str, *, log: JobLog, console: TextIO) -> Iterator[None]:
    """Print a line with the state of a job to console and log at an interval, while the block runs."""
    since, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(PROGRESS_SECONDS):
            line = f"{name}: {log.progress or 'running'} ({time.monotonic() - since:.0f} s)"
            with suppress(OSError, ValueError):
                print(line, file=console, flush=True)
                logging.getLogger(__name__).info(line)

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def name_job(rule: str, *, wildcards: Mapping[str, str]) -> str:
    """Return a job in words: its rule, and its wildcards."""
    return " ".join([rule, *(f"{name}={value}" for name, value in wildcards.items())])


@contextmanager
def stage(job: Any) -> Iterator[None]:
    """Run a job: send its output to its log, turn its failures into one line, and write its record if it succeeds.

    `job` has the `rule`, `wildcards`, `log`, `output` and `params` of the job, as the engine hands them to a script.
    While it runs, a line on the terminal reports its progress every `PROGRESS_SECONDS`.

    An error that the user can correct ends the process with 2 and one line on stderr and in the log. Any other error
    ends it with 1, with its traceback in the log. SIGTERM unwinds the block, so that finished work is kept, and ends it
    with 143. A log that cannot be written, such as on a full disk, is not an error: the line is printed all the same.
    """
    path = Path(job.log[0])
    console = sys.stderr
    signal.signal(signal.SIGTERM, _stop)
    name = name_job(job.rule, wildcards=dict(job.wildcards.items()))
    with (
        _open_log(path, console=console) as file,
        redirect_stdout(file),
        redirect_stderr(file),
        _report_progress(name, log=file, console=console),
    ):
        logging.basicConfig(stream=file, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
        logging.captureWarnings(True)
        try:
            yield
            params = dict(job.params.items())
            names = params.get("reads", "").removeprefix("reads:").split()
            reads = [file for name in names for file in _list_files(job.input.get(name, []))]
            write_record(
                list(job.output),
                rule=job.rule,
                params=params,
                reads=reads,
                seconds=processor_seconds(),
            )
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


def _list_files(files: Any) -> list[str]:
    return [files] if isinstance(files, str) else list(files)


@contextmanager
def _open_log(path: Path, *, console: TextIO) -> Iterator[JobLog]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        print(f"error: {explain_system_fault(error) or error}", file=console)
        sys.exit(2)
    try:
        yield JobLog(file)
    finally:
        logging.raiseExceptions = False  # what is still in the buffer of a log on a full disk has nowhere to go
        with suppress(OSError):
            file.close()


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
