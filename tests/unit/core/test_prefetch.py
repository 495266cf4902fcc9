"""Videos go through the model in whole batches, prepared ahead, in bounded memory, and come out as they are done."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from moclip.core.prefetch import Prepared, embed_videos_in_batches
from moclip.errors import VideoError

Floats = NDArray[np.float32]


def inputs_of(video: int, *, count: int) -> Floats:
    return np.full((count, 2), video, np.float32) + np.arange(count, dtype=np.float32)[:, None] / 64


def prepare_counts(counts: dict[int, int]) -> Callable[[int], Prepared]:
    def prepare(video: int) -> Prepared:
        if counts[video] == 0:
            raise VideoError(reason="no_frames", detail="none", video_id=str(video))
        return Prepared(inputs=inputs_of(video, count=counts[video]), values={"number": video})

    return prepare


def double(sizes: list[int]) -> Callable[[Floats], Callable[[], Floats]]:
    def start(batch: Floats) -> Callable[[], Floats]:
        sizes.append(len(batch))
        return lambda: batch * 2

    return start


@given(
    counts=st.lists(st.integers(0, 9), max_size=12),
    batch_size=st.integers(1, 7),
    num_workers=st.integers(1, 3),
    num_in_flight=st.integers(1, 3),
)
def test_every_video_comes_out_once_with_its_own_embeddings_in_order_of_its_frames(
    counts: list[int], batch_size: int, num_workers: int, num_in_flight: int
) -> None:
    videos = dict(enumerate(counts))
    sizes: list[int] = []
    coming = list(
        embed_videos_in_batches(
            list(videos),
            prepare=prepare_counts(videos),
            start=double(sizes),
            batch_size=batch_size,
            num_workers=num_workers,
            inputs_per_video=3,
            num_in_flight=num_in_flight,
        )
    )
    found = [entry for entry in coming if entry is not None]
    assert coming.count(None) == len(sizes), "the end of each batch is told"
    assert sorted(entry.video for entry in found) == list(videos)
    for entry in found:
        if counts[entry.video] == 0:
            assert isinstance(entry.outcome, VideoError)
        else:
            assert isinstance(entry.outcome, Prepared)
            assert entry.outcome.values == {"number": entry.video}
            np.testing.assert_array_equal(entry.embeddings, 2 * inputs_of(entry.video, count=counts[entry.video]))
    # Whole batches but for the last: no pass is spent on filling up.
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert sum(sizes) == sum(counts)


def test_a_video_is_out_before_the_batch_after_its_own_is_computed() -> None:
    sizes: list[int] = []
    out = embed_videos_in_batches(
        list(range(8)),
        prepare=prepare_counts(dict.fromkeys(range(8), 1)),
        start=double(sizes),
        batch_size=2,
        num_workers=1,
        inputs_per_video=1,
    )
    batches_at_exit = [len(sizes) for entry in out if entry is not None]
    assert batches_at_exit == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_slow_model_is_not_run_ahead_of_without_bound() -> None:
    prepared: list[int] = []
    batch_size, num_workers = 4, 2

    def prepare(video: int) -> Prepared:
        prepared.append(video)
        return Prepared(inputs=inputs_of(video, count=2), values={})

    sizes: list[int] = []
    out = embed_videos_in_batches(
        list(range(100)),
        prepare=prepare,
        start=double(sizes),
        batch_size=batch_size,
        num_workers=num_workers,
        inputs_per_video=2,
    )
    next(out)
    time.sleep(0.1)
    # Two videos are in the batch; two batches of two videos wait, and each worker has one.
    assert len(prepared) <= 2 + 2 * batch_size // 2 + num_workers + 1
    out.close()
    time.sleep(0.1)
    assert len(prepared) < 20, "what was waiting is dropped when nobody wants it any more"


def test_preparing_and_computing_go_on_at_the_same_time() -> None:
    computing = threading.Event()
    seen = threading.Event()

    def prepare(video: int) -> Prepared:
        if video == 2 and computing.wait(timeout=10):
            seen.set()
        return Prepared(inputs=inputs_of(video, count=1), values={})

    def start(batch: Floats) -> Callable[[], Floats]:
        computing.set()
        assert seen.wait(timeout=10), "the third video is prepared while the first batch is computed"
        return lambda: batch

    out = embed_videos_in_batches(
        [0, 1, 2, 3], prepare=prepare, start=start, batch_size=2, num_workers=1, inputs_per_video=1
    )
    assert len([entry for entry in out if entry is not None]) == 4


def test_one_slow_video_holds_up_no_other() -> None:
    release = threading.Event()

    def prepare(video: int) -> Prepared:
        if video == 0:
            release.wait(timeout=10)
        return Prepared(inputs=inputs_of(video, count=1), values={})

    order: list[int] = []
    for entry in embed_videos_in_batches(
        list(range(6)), prepare=prepare, start=double([]), batch_size=1, num_workers=2, inputs_per_video=1
    ):
        order.extend([] if entry is None else [entry.video])
        if len(order) == 5:
            release.set()
    assert sorted(order) == list(range(6))
    assert order[-1] == 0


def test_a_fault_that_is_no_videos_own_stops_everything() -> None:
    def prepare(video: int) -> Prepared:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(
            embed_videos_in_batches(
                [0], prepare=prepare, start=double([]), batch_size=1, num_workers=1, inputs_per_video=1
            )
        )
