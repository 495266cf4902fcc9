"""Run decoders in worker processes, so that a crash, a hang or excessive memory use affects only one video.

A worker is a child process that serves one call after another. Messages are JSON and plain bytes, never pickle. A
worker that a hostile file has taken over can return wrong features of that file, and nothing else.
"""

import contextlib
import json
import logging
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from moclip.core.spool import Spool
from moclip.errors import MoclipError, VideoError
from moclip.video.worker import BLOCK_BYTES, LENGTH, Fault, Values, serve

# numpy's own threads have nothing to do in a worker, and their buffers would count as memory of a video.
_BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "os.environ.update(OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')"
)

_LOOK_SECONDS = 0.05

_MAX_HEADER_BYTES = 64 << 20


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
                raise _rebuild(Fault(kind="memory", text=""), video_id=video_id, limits=self._limits) from None
            except TimeoutError:
                self._drop(worker)
                detail = f"not done after {self._limits.seconds:g} s, see `dataset.limits.seconds`"
                raise VideoError(reason="timeout", detail=detail, video_id=video_id) from None
            except BaseException:
                # Its answer may be half read, or it may hold memory that a fault left behind.
                self._drop(worker)
                raise
            else:
                if isinstance(values, Fault):
                    self._put_back(worker)
                    raise _rebuild(values, video_id=video_id, limits=self._limits)
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


def _fileno(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise RuntimeError("a worker without a pipe")
    return pipe.fileno()


def _rebuild(fault: Fault, *, video_id: str, limits: Limits) -> Exception:
    if fault.kind == "video":
        return VideoError(reason=fault.text, detail=fault.detail, video_id=video_id)
    if fault.kind == "memory":
        detail = f"more than {limits.memory_mb} MB, see `dataset.limits.memory_mb`"
        return VideoError(reason="out_of_memory", detail=detail, video_id=video_id)
    if fault.kind == "system":
        number, name = json.loads(fault.detail)
        return OSError(number, fault.text, name)
    known = {error.__name__: error for error in _list_errors(MoclipError)}
    if fault.kind in known:
        return known[fault.kind](fault.text)
    return RuntimeError(f"{fault.text}\nin a worker:\n{fault.detail}")


def _list_errors(kind: type[MoclipError]) -> Iterator[type[MoclipError]]:
    yield kind
    for below in kind.__subclasses__():
        if below is not VideoError:
            yield from _list_errors(below)


class _Worker:
    """One child process and the pipes to it."""

    def __init__(self, target: str, *, limits: Limits) -> None:
        self._limits = limits
        self._process = subprocess.Popen(
            # The worker's search path is this process's, wherever the library is installed.
            [sys.executable, "-c", f"{_BOOT}; from {serve.__module__} import serve; serve()", json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._input, self._output = (_fileno(pipe) for pipe in (self._process.stdin, self._process.stdout))
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        # What came along with what was asked for: most answers come whole, in one look.
        self._ahead = memoryview(bytearray(BLOCK_BYTES))
        self._ahead_from = self._ahead_to = 0
        self._send({"target": target})

    def call(self, arguments: Mapping[str, Any], *, spool_folder: Path | None) -> "dict[str, Any] | Fault":
        """Return what the function returned, or raised.

        Raises:
            TimeoutError: The call took longer than the limit.
            _CrashedError: The worker died.
            _TooLargeError: The worker held more memory than the limit.
        """
        until = time.monotonic() + self._limits.seconds
        self._send(arguments)
        length = LENGTH.unpack(self._receive(LENGTH.size, until=until))[0]
        if length > _MAX_HEADER_BYTES:
            raise RuntimeError(f"a worker announced {length} bytes of JSON")
        header = json.loads(self._receive(length, until=until))
        if header["peak_mb"] > self._limits.memory_mb:  # between two looks at it
            raise _TooLargeError
        for name, level, text in header["log"]:
            logging.getLogger(name).log(level, "%s", text)
        if "fault" in header:
            return Fault(**header["fault"])
        return {name: self._read_value(entry, until=until, folder=spool_folder) for name, entry in header["values"]}

    def kill(self) -> None:
        """End the process in any state."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read_value(self, entry: Mapping[str, Any], *, until: float, folder: Path | None) -> Any:
        if "scalar" in entry:
            return entry["scalar"]
        dtype = np.dtype(entry["dtype"])
        if dtype.hasobject:
            raise RuntimeError(f"a worker sent an array of {dtype}")
        if "spool" not in entry:
            return self._receive_array(tuple(entry["shape"]), dtype, until=until)
        left, *item_shape = entry["spool"]
        if min(item_shape, default=1) < 1:
            raise RuntimeError(f"a worker sent items of shape {item_shape}")
        spool = Spool(dtype=dtype, item_shape=item_shape, folder=folder)
        items = max(1, BLOCK_BYTES // max(1, dtype.itemsize * math.prod(item_shape)))
        while left > 0:
            spool.append(self._receive_array((min(left, items), *item_shape), dtype, until=until))
            left -= items
        return spool

    def _receive_array(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, until: float) -> NDArray[Any]:
        count = math.prod(shape) * dtype.itemsize
        if count > self._limits.memory_mb * 2**20:
            raise RuntimeError(f"a worker announced an array of {count} bytes")
        return np.frombuffer(self._receive(count, until=until), dtype).reshape(shape)

    def _send(self, document: Mapping[str, Any]) -> None:
        data = json.dumps(document).encode()
        view = memoryview(LENGTH.pack(len(data)) + data)
        try:
            while view:
                view = view[os.write(self._input, view) :]
        except BrokenPipeError:
            raise _CrashedError(self._process.wait()) from None

    def _receive(self, count: int, *, until: float) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            if self._ahead_from == self._ahead_to:
                view = self._receive_some(view, until=until)
                continue
            got = min(len(view), self._ahead_to - self._ahead_from)
            view[:got] = self._ahead[self._ahead_from : self._ahead_from + got]
            self._ahead_from += got
            view = view[got:]
        return data

    def _receive_some(self, view: memoryview, *, until: float) -> memoryview:
        # Returns what of it is still to be filled.
        while not self._poll.poll(1000 * _LOOK_SECONDS):
            if _resident_mb(self._process.pid) > self._limits.memory_mb:
                raise _TooLargeError
            if time.monotonic() > until:
                raise TimeoutError
        got = os.readv(self._output, [view, self._ahead])
        if not got:
            raise _CrashedError(self._process.wait())
        self._ahead_from, self._ahead_to = 0, max(0, got - len(view))
        return view[got:]


def _resident_mb(process: int) -> float:
    """Return the memory that a process holds; 0 where the system does not tell as Linux does."""
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0.0
