"""The worker process of `isolation`: it serves calls through standard input and output.

A message is its number of bytes (uint64, little-endian) followed by JSON. The bytes of the arrays and `Spool`s that an
answer announces follow it, in its order.
"""

import contextlib
import gc
import importlib
import json
import logging
import math
import os
import signal
import struct
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moclip.core.spool import Spool
from moclip.errors import MoclipError, VideoError

Values = Mapping[str, Any]

LENGTH = struct.Struct("<Q")

BLOCK_BYTES = 1 << 20

_MAX_PIECES = 256  # in one write, of which POSIX promises no more than 16 and Linux takes 1024

_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ of Linux: fewer changes between the two processes


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An exception of the function, as it crosses."""

    kind: str
    text: str
    detail: str = ""


def serve() -> None:
    """Be a worker: answer the calls that come through standard input until it is closed. Never returns."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.dup(1)
    with contextlib.suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415 (there is none on every system)

        fcntl.fcntl(answers, _SET_PIPE_SIZE, BLOCK_BYTES)
    # What a library prints belongs into the job's log, and reads nothing.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # SIGTERM is for the job, which stops its workers: one that died first would look like a crash.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    setup = _read_request(requests)
    log = _Log()
    logging.basicConfig(level=logging.INFO, handlers=[log])
    module, _, name = setup["target"].partition(":")
    function = getattr(importlib.import_module(module), name)
    gc.freeze()  # what was loaded so far stays, and need not be looked through again and again
    calls: deque[dict[str, Any]] = deque()
    coming = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(requests, calls, coming), daemon=True).start()
    while True:
        coming.acquire()
        _answer(function, calls.popleft(), answers, log=log)


def _listen(requests: BinaryIO, calls: deque[dict[str, Any]], coming: threading.Semaphore) -> None:
    # A thread of its own: a worker whose job is gone ends at once, even in the middle of a decode.
    while True:
        calls.append(_read_request(requests))
        coming.release()


def _read_request(requests: BinaryIO) -> dict[str, Any]:
    head = requests.read(LENGTH.size)
    if len(head) < LENGTH.size:
        os._exit(0)
    request: dict[str, Any] = json.loads(requests.read(LENGTH.unpack(head)[0]))
    return request


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")


def _peak_mb() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class _Log(logging.Handler):
    """What is logged during a call, to be logged by the job."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append((record.name, record.levelno, record.getMessage()))

    def take(self) -> list[tuple[str, int, str]]:
        """Return the records so far, and forget them."""
        taken, self.records = self.records, []
        return taken


def _answer(function: Callable[..., Values], arguments: dict[str, Any], answers: int, *, log: _Log) -> None:
    _forget_peak()
    try:
        entries = [(name, *_pack(value)) for name, value in function(**arguments).items()]
    except BaseException as error:
        _write(answers, {"log": log.take(), "peak_mb": _peak_mb(), "fault": vars(_describe(error))})
        return
    values = [(name, entry) for name, entry, _ in entries]
    blocks = chain.from_iterable(blocks for _, _, blocks in entries)
    _write(answers, {"log": log.take(), "peak_mb": _peak_mb(), "values": values}, blocks=blocks)


def _pack(value: Any) -> tuple[dict[str, Any], Iterator[NDArray[Any]]]:
    if isinstance(value, Spool):
        item_shape = value.shape[1:]
        items = max(1, BLOCK_BYTES // (value.dtype.itemsize * math.prod(item_shape)))
        return {"spool": list(value.shape), "dtype": value.dtype.str}, value.blocks(items)
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        entry = {"dtype": array.dtype.str, "shape": list(value.shape)}
        return entry, iter((array.reshape(-1),) if array.size else ())
    return {"scalar": value.item() if isinstance(value, np.generic) else value}, iter(())


def _describe(error: BaseException) -> Fault:
    if isinstance(error, VideoError):
        return Fault(kind="video", text=error.reason, detail=error.detail)
    if isinstance(error, MemoryError):
        return Fault(kind="memory", text=str(error))
    if isinstance(error, MoclipError):
        return Fault(kind=type(error).__name__, text=str(error))
    if isinstance(error, OSError) and error.errno is not None:
        name = None if error.filename is None else str(error.filename)
        return Fault(kind="system", text=str(error.strerror), detail=json.dumps([error.errno, name]))
    return Fault(kind="internal", text=f"{type(error).__name__}: {error}", detail=traceback.format_exc())


def _write(answers: int, document: Mapping[str, Any], *, blocks: Iterable[NDArray[Any]] = ()) -> None:
    # As few and as large pieces as memory allows: each one may wake the other process.
    data = json.dumps(document).encode()
    waiting = [memoryview(LENGTH.pack(len(data)) + data)]
    for block in blocks:
        waiting.append(block.reshape(-1).view(np.uint8).data)
        if len(waiting) >= _MAX_PIECES or sum(map(len, waiting)) >= BLOCK_BYTES:
            _write_all(answers, waiting)
            waiting = []
    _write_all(answers, waiting)


def _write_all(answers: int, pieces: list[memoryview]) -> None:
    while pieces:
        written = os.writev(answers, pieces)
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.pop(0))
        if pieces:
            pieces[0] = pieces[0][written:]
