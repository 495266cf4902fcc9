"""Prefetching: worker threads prepare items ahead of the model, and batches may hold parts of many videos."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
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
    tasks = (partial(_attempt, video, prepare=prepare) for video in videos)
    for video, outcome in prefetch(tasks, threads=num_workers, num_ahead=num_ahead, in_order=False):
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


def _attempt(video: Video, *, prepare: Callable[[Video], Prepared]) -> tuple[Video, Outcome]:
    try:
        return video, prepare(video)
    except VideoError as error:
        return video, error


T = TypeVar("T")


def prefetch(tasks: Iterable[Callable[[], T]], *, threads: int, num_ahead: int, in_order: bool = True) -> Iterator[T]:
    """Yield the results of tasks that run in threads, up to `num_ahead` of them at a time.

    The first task that fails raises here. Tasks are taken from the iterable only as they are started. Without
    `in_order`, whichever task finishes first is yielded first, so that a long one does not delay the others.
    """
    coming = iter(tasks)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")
    pending: list[Future[T]] = []
    try:
        while True:
            pending.extend(pool.submit(task) for task in islice(coming, num_ahead - len(pending)))
            if not pending:
                return
            wait(pending[:1] if in_order else pending, return_when=FIRST_COMPLETED)
            done = next(future for future in pending if in_order or future.done())
            pending.remove(done)
            yield done.result()
    finally:
        # A stopped job does not wait for a video; tasks in order may read files that are closed after this.
        pool.shutdown(wait=in_order, cancel_futures=True)
