"""Decoding in processes of its own: a decoder that crashes, hangs or eats memory takes nothing down but its video.

A worker is a child process that serves one call after another. What crosses is JSON and plain bytes, never pickle: a
worker that a hostile file has taken over can give wrong features of that file, and nothing else.
"""

import contextlib
import importlib
import json
import logging
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from moclip.errors import MoclipError, VideoError
from moclip.spool import Spool

Values = Mapping[str, Any]

# numpy's own threads have nothing to do in a worker, and their buffers would count as memory of a video.
_BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "os.environ.update(OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')"
)
_LENGTH = struct.Struct("<Q")
_BLOCK_BYTES = 1 << 20
_LOOK_SECONDS = 0.05
_MAX_HEADER_BYTES = 64 << 20
_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ of Linux: fewer changes between the two processes


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one video may take: seconds of wall time, and megabytes that its worker holds at most (it starts with 60).

    Memory is watched and never refused: FFmpeg goes on without what it could not get, and gives other features.
    """

    seconds: float = 1800.0
    memory_mb: int = 4096


class WorkerLostError(MoclipError):
    """A worker was killed from outside, for no fault of its video."""


class Isolated:
    """A function of JSON values, called in worker processes: as many as there are calls at the same time.

    The function is one of a module's own, takes keywords, `video_id` among them, and returns numbers, texts, arrays and
    `Spool`s by name. Threads may share the object; leaving its block ends every worker.
    """

    def __init__(
        self, function: Callable[..., Values], *, limits: Limits | None = None, spool_folder: Path | None = None
    ) -> None:
        """Name the function; `spool_folder` takes what a call returns that is too much for memory."""
        self._target = f"{function.__module__}:{function.__qualname__}"
        self._limits = limits or Limits()
        self._spool_folder = spool_folder
        self._idle: deque[_Worker] = deque()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        """Start the first worker, so that it is ready when it is needed."""
        self._idle.append(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker, those in the middle of a call too."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            worker.kill()

    def __call__(self, *, video_id: str, **arguments: Any) -> dict[str, Any]:
        """Return what the function returns.

        A video whose decoder crashes is tried once more, since a crash may come of what was decoded before it.

        Raises:
            VideoError: The function raised it; or the worker crashed twice, took too long or too much memory.
            MoclipError: The function raised it.
            WorkerLostError: The worker was killed from outside.
            RuntimeError: The function raised something else, a fault of ours.
        """
        for attempt in (1, 2):
            worker = self._take()
            try:
                values = worker.call({"video_id": video_id, **arguments}, spool_folder=self._spool_folder)
            except _CrashedError as crash:
                self._drop(worker)
                if crash.signal_number == signal.SIGKILL:
                    raise WorkerLostError(
                        f"video {video_id}: its decoder was killed (signal 9) by someone else, or for want of memory; "
                        "give the job more memory and run again; what was finished is kept"
                    ) from None
                if attempt == 2:
                    raise VideoError(reason="crash", detail=str(crash), video_id=video_id) from None
            except _TooLargeError:
                self._drop(worker)
                raise _Fault(kind="memory", text="").rebuild(video_id=video_id, limits=self._limits) from None
            except TimeoutError:
                self._drop(worker)
                detail = f"not done after {self._limits.seconds:g} s, see `dataset.limits.seconds`"
                raise VideoError(reason="timeout", detail=detail, video_id=video_id) from None
            except BaseException:
                # Its answer may be half read, or it may hold memory that a fault left behind.
                self._drop(worker)
                raise
            else:
                if isinstance(values, _Fault):
                    self._put_back(worker)
                    raise values.rebuild(video_id=video_id, limits=self._limits)
                self._put_back(worker)
                return values
        raise AssertionError("unreachable")

    def _start(self) -> "_Worker":
        worker = _Worker(self._target, limits=self._limits)
        with self._lock:
            if not self._closed:
                self._all.add(worker)
                return worker
        worker.kill()
        raise RuntimeError("a call after its workers were ended")

    def _take(self) -> "_Worker":
        try:
            return self._idle.pop()
        except IndexError:
            return self._start()

    def _put_back(self, worker: "_Worker") -> None:
        self._idle.append(worker)

    def _drop(self, worker: "_Worker") -> None:
        with self._lock:
            self._all.discard(worker)
        worker.kill()


class _CrashedError(Exception):
    """A worker ended without an answer."""

    def __init__(self, code: int) -> None:
        self.signal_number = -code if code < 0 else 0
        name = signal.Signals(-code).name if code < 0 else ""
        super().__init__(f"its decoder died of signal {-code} ({name})" if name else f"its decoder ended with {code}")


class _TooLargeError(Exception):
    """A worker held more memory than a video may take, and was ended."""


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """An exception of the function, as it crossed."""

    kind: str
    text: str
    detail: str = ""

    def rebuild(self, *, video_id: str, limits: Limits) -> Exception:
        """Return the exception for this side."""
        if self.kind == "video":
            return VideoError(reason=self.text, detail=self.detail, video_id=video_id)
        if self.kind == "memory":
            detail = f"more than {limits.memory_mb} MB, see `dataset.limits.memory_mb`"
            return VideoError(reason="out_of_memory", detail=detail, video_id=video_id)
        if self.kind == "system":
            number, name = json.loads(self.detail)
            return OSError(number, self.text, name)
        known = {error.__name__: error for error in _list_errors(MoclipError)}
        if self.kind in known:
            return known[self.kind](self.text)
        return RuntimeError(f"{self.text}\nin a worker:\n{self.detail}")


def _list_errors(kind: type[MoclipError]) -> Iterator[type[MoclipError]]:
    yield kind
    for below in kind.__subclasses__():
        if below is not VideoError:
            yield from _list_errors(below)


def _fileno(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise RuntimeError("a worker without a pipe")
    return pipe.fileno()


class _Worker:
    """One child process and the pipes to it."""

    def __init__(self, target: str, *, limits: Limits) -> None:
        self._limits = limits
        self._process = subprocess.Popen(
            # The worker's search path is this process's, wherever the library lies.
            [sys.executable, "-c", f"{_BOOT}; from {serve.__module__} import serve; serve()", json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._input, self._output = (_fileno(pipe) for pipe in (self._process.stdin, self._process.stdout))
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._send({"target": target})

    def call(self, arguments: Mapping[str, Any], *, spool_folder: Path | None) -> "dict[str, Any] | _Fault":
        """Return what the function returned, or raised.

        Raises:
            TimeoutError: The call took longer than the limit.
            _CrashedError: The worker died.
            _TooLargeError: The worker held more memory than the limit.
        """
        until = time.monotonic() + self._limits.seconds
        self._send(arguments)
        length = _LENGTH.unpack(self._receive(_LENGTH.size, until=until))[0]
        if length > _MAX_HEADER_BYTES:
            raise RuntimeError(f"a worker announced {length} bytes of JSON")
        header = json.loads(self._receive(length, until=until))
        if header["peak_mb"] > self._limits.memory_mb:  # between two looks at it
            raise _TooLargeError
        for name, level, text in header["log"]:
            logging.getLogger(name).log(level, "%s", text)
        if "fault" in header:
            return _Fault(**header["fault"])
        return {name: self._read_value(entry, until=until, folder=spool_folder) for name, entry in header["values"]}

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read_value(self, entry: Mapping[str, Any], *, until: float, folder: Path | None) -> Any:
        if "scalar" in entry:
            return entry["scalar"]
        if "spool" in entry:
            spool, left = Spool(folder=folder), int(entry["spool"])
            while left:
                block = self._receive(min(left, _BLOCK_BYTES), until=until)
                spool.append(np.frombuffer(block, np.uint8))
                left -= len(block)
            return spool
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        if dtype.hasobject:
            raise RuntimeError(f"a worker sent an array of {dtype}")
        data = self._receive(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, until=until)
        return np.frombuffer(data, dtype).reshape(shape)

    def _send(self, document: Mapping[str, Any]) -> None:
        data = json.dumps(document).encode()
        view = memoryview(_LENGTH.pack(len(data)) + data)
        try:
            while view:
                view = view[os.write(self._input, view) :]
        except BrokenPipeError:
            raise _CrashedError(self._process.wait()) from None

    def _receive(self, count: int, *, until: float) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            while not self._poll.poll(1000 * _LOOK_SECONDS):
                if _resident_mb(self._process.pid) > self._limits.memory_mb:
                    raise _TooLargeError
                if time.monotonic() > until:
                    raise TimeoutError
            got = os.readv(self._output, [view])
            if not got:
                raise _CrashedError(self._process.wait())
            view = view[got:]
        return data


def serve() -> None:
    """Be a worker: answer the calls that come through standard input until it is closed. Never returns."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    with contextlib.suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415 (there is none on every system)

        fcntl.fcntl(answers.fileno(), _SET_PIPE_SIZE, _BLOCK_BYTES)
    # What a library prints belongs into the job's log, and reads nothing.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # The job is told to stop, and stops its workers: one that died first would look like a crash.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    setup = _read_request(requests)
    log = _Log()
    logging.basicConfig(level=logging.INFO, handlers=[log])
    module, _, name = setup["target"].partition(":")
    function = getattr(importlib.import_module(module), name)
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
    head = requests.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        os._exit(0)
    request: dict[str, Any] = json.loads(requests.read(_LENGTH.unpack(head)[0]))
    return request


def _resident_mb(process: int) -> float:
    """Return the memory that a process holds; 0 where the system does not tell as Linux does."""
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0.0


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


def _answer(function: Callable[..., Values], arguments: dict[str, Any], answers: BinaryIO, *, log: _Log) -> None:
    _forget_peak()
    try:
        entries = [(name, *_pack(value)) for name, value in function(**arguments).items()]
    except BaseException as error:
        _write(answers, {"log": log.take(), "peak_mb": _peak_mb(), "fault": vars(_describe(error))})
        return
    _write(answers, {"log": log.take(), "peak_mb": _peak_mb(), "values": [(name, entry) for name, entry, _ in entries]})
    for _, _, blocks in entries:
        for block in blocks:
            _write_all(answers, block.view(np.uint8).data)


def _pack(value: Any) -> tuple[dict[str, Any], Iterator[NDArray[Any]]]:
    if isinstance(value, Spool):
        return {"spool": value.num_bytes}, value.blocks(_BLOCK_BYTES)
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        entry = {"dtype": array.dtype.str, "shape": list(value.shape)}
        return entry, iter((array.reshape(-1),) if array.size else ())
    return {"scalar": value.item() if isinstance(value, np.generic) else value}, iter(())


def _describe(error: BaseException) -> _Fault:
    if isinstance(error, VideoError):
        return _Fault(kind="video", text=error.reason, detail=error.detail)
    if isinstance(error, MemoryError):
        return _Fault(kind="memory", text=str(error))
    if isinstance(error, MoclipError):
        return _Fault(kind=type(error).__name__, text=str(error))
    if isinstance(error, OSError) and error.errno is not None:
        name = None if error.filename is None else str(error.filename)
        return _Fault(kind="system", text=str(error.strerror), detail=json.dumps([error.errno, name]))
    return _Fault(kind="internal", text=f"{type(error).__name__}: {error}", detail=traceback.format_exc())


def _write(answers: BinaryIO, document: Mapping[str, Any]) -> None:
    data = json.dumps(document).encode()
    _write_all(answers, memoryview(_LENGTH.pack(len(data)) + data))


def _write_all(answers: BinaryIO, view: memoryview) -> None:
    while view:
        view = view[answers.write(view) :]
