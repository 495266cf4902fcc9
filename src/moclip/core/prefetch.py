"""Prefetching: worker threads prepare items ahead of the model, and batches may hold parts of many videos."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from moclip.errors import VideoError

Floats = NDArray[np.float32]

Video = TypeVar("Video")

Finish = Callable[[], Floats]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a model sees of a video, (K, ...) float32 with K from 1, and what else its row holds."""

    inputs: Floats
    values: Mapping[str, Any]


Outcome = Prepared | VideoError


@dataclass(frozen=True, kw_only=True)
class Embedded(Generic[Video]):
    """A video that is done: what it was prepared to, or why it is rejected, and its embeddings, (K, D), or (0, 0)."""

    video: Video
    outcome: Outcome
    embeddings: Floats


@dataclass(kw_only=True)
class _Slot(Generic[Video]):
    """A video whose embeddings are coming, batch by batch."""

    video: Video
    prepared: Prepared
    parts: list[Floats] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return sum(map(len, self.parts)) == len(self.prepared.inputs)


def embed_videos_in_batches(
    videos: Sequence[Video],
    *,
    prepare: Callable[[Video], Prepared],
    start: Callable[[Floats], Finish],
    batch_size: int,
    num_workers: int,
    inputs_per_video: int,
    num_in_flight: int = 1,
) -> Iterator[Embedded[Video] | None]:
    """Yield each video once it is done, and None after each batch.

    Memory is bounded: what waits for the model is about two batches and a video for each worker.

    Args:
        videos: What to embed.
        prepare: Called by `num_workers` threads; a `VideoError` that it raises rejects the video.
        start: Begins a batch of at most `batch_size` inputs and returns what waits for its embeddings. Called from one
            thread.
        batch_size: Inputs a batch. Only the last batch has fewer.
        num_workers: Threads that prepare.
        inputs_per_video: How many inputs a video has, about; for the length of the queue alone.
        num_in_flight: Batches that are begun before the first is waited for.
    """
    num_ahead = num_workers + math.ceil(2 * batch_size / inputs_per_video)
    batcher: _Batcher[Video] = _Batcher(start=start, batch_size=batch_size, num_in_flight=num_in_flight)
    for video, outcome in _prepare_ahead(videos, prepare=prepare, num_workers=num_workers, num_ahead=num_ahead):
        if isinstance(outcome, VideoError):
            yield Embedded(video=video, outcome=outcome, embeddings=np.empty((0, 0), np.float32))
        else:
            batcher.add(video, outcome)
            yield from batcher.run(fewest=batch_size)
    yield from batcher.run(fewest=1)
    yield from batcher.finish(num_left=0)


class _Batcher(Generic[Video]):
    """Inputs of several videos on their way through the model, in whole batches."""

    def __init__(self, *, start: Callable[[Floats], Finish], batch_size: int, num_in_flight: int) -> None:
        self._start, self._batch_size, self._num_in_flight = start, batch_size, num_in_flight
        self._waiting: deque[tuple[_Slot[Video], int]] = deque()
        self._running: deque[tuple[list[_Slot[Video]], Finish]] = deque()

    def add(self, video: Video, prepared: Prepared) -> None:
        """Let the inputs of a video wait for their batch."""
        slot = _Slot(video=video, prepared=prepared)
        self._waiting.extend((slot, index) for index in range(len(prepared.inputs)))

    def run(self, *, fewest: int) -> Iterator[Embedded[Video] | None]:
        """Begin batches while `fewest` inputs wait; yield the videos that are done meanwhile."""
        while len(self._waiting) >= fewest:
            chosen = [self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))]
            batch = np.stack([slot.prepared.inputs[index] for slot, index in chosen])
            self._running.append(([slot for slot, _ in chosen], self._start(batch)))
            yield from self.finish(num_left=self._num_in_flight - 1)

    def finish(self, *, num_left: int) -> Iterator[Embedded[Video] | None]:
        """Wait for batches until `num_left` run; yield the videos whose last input was among them, and then None."""
        while len(self._running) > num_left:
            slots, wait_for = self._running.popleft()
            for slot, embedding in zip(slots, wait_for(), strict=True):
                slot.parts.append(embedding[None])
                if slot.is_complete:
                    embeddings = np.concatenate(slot.parts)
                    yield Embedded(video=slot.video, outcome=slot.prepared, embeddings=embeddings)
            yield None


def _prepare_ahead(
    videos: Iterable[Video], *, prepare: Callable[[Video], Prepared], num_workers: int, num_ahead: int
) -> Iterator[tuple[Video, Outcome]]:
    def attempt(video: Video) -> tuple[Video, Outcome]:
        try:
            return video, prepare(video)
        except VideoError as error:
            return video, error

    coming = iter(videos)
    executor = ThreadPoolExecutor(max_workers=num_workers)
    pending: set[Future[tuple[Video, Outcome]]] = set()
    ready: deque[tuple[Video, Outcome]] = deque()
    try:
        while True:
            # What finishes first goes first, so that one long video keeps nobody waiting.
            for video in islice(coming, num_ahead - len(pending) - len(ready)):
                pending.add(executor.submit(attempt, video))
            if not ready:
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                ready.extend(future.result() for future in done)
            yield ready.popleft()
    finally:
        # A job that is stopped waits for no video that nobody wants any more.
        executor.shutdown(wait=False, cancel_futures=True)


T = TypeVar("T")

# Groups of tasks that run while one is handed out.
_AHEAD = 2


def work_ahead(groups: Iterable[Sequence[Callable[[], T]]], *, threads: int) -> Iterator[list[T]]:
    """Yield the results of each group of tasks, in order; later groups are under way in threads meanwhile.

    The first task that fails raises here. Groups are taken from the iterable only as they are started.
    """
    waiting: deque[list[Future[T]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    try:
        for group in groups:
            waiting.append([pool.submit(task) for task in group])
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
