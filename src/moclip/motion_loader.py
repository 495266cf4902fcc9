"""Batches for a motion network: one sample from cached vectors, and many of them made ahead in threads.

What a sample holds depends on the seed, the epoch and its video alone, never on the thread that makes it, so that the
number of threads changes no number.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from moclip.field_batches import FieldConfig, build_segments, crop_for_training
from moclip.motion import MotionVectors

T = TypeVar("T")

# Groups of tasks that are under way beside the one that is handed out.
_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled video; `motion` reads its vectors from the cache, from any thread."""

    video_id: str
    class_index: int
    motion: Callable[[], MotionVectors]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How a random view of a video is made: segments, sides of the crops as shares of the shorter side, mirroring."""

    num_segments: int
    scales: Sequence[float]
    flip: bool


def seed_of(*parts: object) -> int:
    """Return a seed, 63 bits, that follows from some values."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "little") >> 1


def draw_view(motion: MotionVectors, *, config: FieldConfig, how: Augmentation, seed: int) -> Tensor:
    """Return a random view of a video, coded, uint8 (S, 2, P, P): a random frame of each segment, one crop for all."""
    rng = np.random.default_rng(seed)
    fields = build_segments(motion, config=config, num_segments=how.num_segments, rng=rng)
    return crop_for_training(fields, config=config, scales=how.scales, flip=how.flip, rng=rng)


def draw_batches(
    samples: Sequence[Sample],
    *,
    batch_size: int,
    config: FieldConfig,
    how: Augmentation,
    seed: Callable[[Sample], int],
    threads: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield crops, uint8 (B, S, 2, P, P), and class indices, int64 (B,), of the samples in the order given."""

    def draw(sample: Sample) -> Tensor:
        return draw_view(sample.motion(), config=config, how=how, seed=seed(sample))

    groups = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]
    made = work_ahead(([partial(draw, sample) for sample in group] for group in groups), threads=threads)
    for group, views in zip(groups, made, strict=True):
        yield torch.stack(views), torch.tensor([sample.class_index for sample in group])


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
