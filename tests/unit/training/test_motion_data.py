"""Batches are made ahead, in order, and a fault in a thread is a fault here."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from moclip.core.prefetch import prefetch
from moclip.training.motion_data import draw_batches
from tests.unit.encoders.motion_networks import TRAIN, samples, variant


def slow(number: int) -> int:
    time.sleep(0.01 * (number % 3))
    return number


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_the_order_of_their_tasks(threads: int) -> None:
    tasks = [partial(slow, number) for number in range(18)]
    assert list(prefetch(tasks, threads=threads, num_ahead=6)) == list(range(18))


def test_the_next_tasks_are_under_way_and_no_more() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Callable[[], int]]:
        for number in range(10):
            taken.append(number)
            yield partial(slow, 0)

    made = prefetch(tasks(), threads=1, num_ahead=3)
    next(made)
    assert len(taken) == 3
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_a_task_that_fails_fails_here() -> None:
    def fail() -> int:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        list(prefetch([partial(slow, 1), fail], threads=2, num_ahead=2))


def test_batches_hold_every_sample_once_with_its_label() -> None:
    batches = list(
        draw_batches(
            samples(5),
            variant=variant(train={**TRAIN, "batch_size": 2, "num_segments": 3}),
            seed=lambda sample: len(sample.video_id),
        )
    )
    assert [codes.shape for codes, _ in batches] == [(2, 3, 2, 32, 32)] * 2 + [(1, 3, 2, 32, 32)]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 0, 1, 0]
