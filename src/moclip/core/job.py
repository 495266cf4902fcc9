"""The frame around one job: log file, signals, error messages and exit code."""

import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from moclip.core.records import check_input, forget, write_record
from moclip.errors import MoclipError, explain_system_fault


@contextmanager
def stage(job: Any) -> Iterator[None]:
    """Run a job: send its output to its log, turn its failures into one line, and write its record if it succeeds.

    `job` has the `rule`, `log`, `input`, `output` and `params` of the job, as the engine hands them to a script. Inputs
    are compared with their records first, except shards, whose readers check each row. The record of a result that is
    found damaged is removed, so that the next run makes it again.

    An error that the user can correct ends the process with 2 and one line on stderr and in the log. Any other error
    ends it with 1, with its traceback in the log. SIGTERM unwinds the block, so that finished work is kept, and ends it
    with 143. A log that cannot be written, such as on a full disk, is not an error: the line is printed all the same.
    """
    path = Path(job.log[0])
    console = sys.stderr
    signal.signal(signal.SIGTERM, _stop)
    with _open_log(path, console=console) as file, redirect_stdout(file), redirect_stderr(file):
        logging.basicConfig(stream=file, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
        logging.captureWarnings(True)
        try:
            _check_inputs(job.input)
            yield
            params = dict(job.params.items())
            names = params.get("reads", "").removeprefix("reads:").split()
            reads = [file for name in names for file in _list_files(job.input.get(name, []))]
            write_record(list(job.output), rule=job.rule, params=params, reads=reads)
        except Exception as error:
            known = error if isinstance(error, MoclipError) else explain_system_fault(error)
            if known is not None and known.damaged is not None:
                forget(known.damaged)
            with suppress(OSError):
                traceback.print_exc(file=file) if known is not error else None
            kind = "internal error" if known is None else "error"
            line = f"{kind}: {f'{type(error).__name__}: {error}' if known is None else known}"
            with suppress(OSError):
                print(line, file=file)
            print(line if known else f"{line}; traceback in {path}", file=console)
            sys.exit(2 if known else 1)


def _check_inputs(inputs: Any) -> None:
    named = [file for name, files in inputs.items() if name != "gates" for file in _list_files(files)]
    for file in dict.fromkeys(named):
        if not file.endswith(".h5"):
            check_input(Path(file))


def announce(line: str) -> None:
    """Print a line on the terminal from inside a job, and in its log."""
    logging.getLogger(__name__).warning("%s", line)
    print(line, file=sys.__stderr__)


def _list_files(files: Any) -> list[str]:
    return [files] if isinstance(files, str) else list(files)


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
