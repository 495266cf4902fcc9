"""Descriptions of motion are equal for copies of a video, and unrelated for other videos."""

import numpy as np
import pytest

from moclip.core.numerics import unit
from moclip.motion.description import describe_motion
from moclip.motion.vectors import NO_VECTOR, MotionVectors
from tests.unit.motion.test_fields import make_motion

NUM_FRAMES = 64


def wander(seed: int, *, num_frames: int = NUM_FRAMES, cells: int = 8, scale: float = 4.0) -> MotionVectors:
    """A square that moves on a smooth random path: vectors of 2 x 2 cells of 8 x 8, at the size of `cells`."""
    rng = np.random.default_rng(seed)
    knots = rng.normal(size=(8, 2))
    times = np.linspace(0, 7, num_frames)
    speed = np.stack([np.interp(times, np.arange(8), knots[:, axis]) for axis in (0, 1)], axis=-1) * 40
    fields = {}
    for frame in range(1, num_frames):
        field = np.zeros((cells, cells, 2), np.int16)
        start, size = cells // 4, cells // 4
        field[start : start + size, start : start + size] = np.round(speed[frame] * scale)
        fields[frame] = field
    return make_motion(fields, types="I" + "P" * (num_frames - 1), width_px=8 * cells, height_px=8 * cells)


def similarity(first: MotionVectors, second: MotionVectors) -> float:
    one, other = unit(np.stack([describe_motion(first), describe_motion(second)]))
    return float(one @ other)


@pytest.mark.parametrize("changes", [{"cells": 16}, {"scale": 8.0}, {"num_frames": 128}, {"num_frames": 48}])
def test_a_copy_of_another_size_unit_or_frame_rate_has_the_same_description(changes: dict[str, float]) -> None:
    assert similarity(wander(1), wander(1, **changes)) > 0.97


def test_other_paths_have_unrelated_descriptions() -> None:
    found = [similarity(wander(0), wander(seed)) for seed in range(1, 12)]
    assert abs(np.mean(found)) < 0.3
    assert max(found) < 0.8


def test_motion_that_does_not_change_is_described_by_zeros() -> None:
    field = np.full((8, 8, 2), 12, np.int16)
    steady = make_motion(dict.fromkeys(range(1, 33), field), types="I" + "P" * 32, width_px=64, height_px=64)
    assert np.abs(describe_motion(steady)).max() < 1e-5
    assert not describe_motion(make_motion({}, types="I")).any()


def test_cells_without_a_vector_count_as_still() -> None:
    moving = wander(3)
    hidden = moving.past.copy()
    hidden[(moving.past == 0).all(axis=-1)] = NO_VECTOR
    changed = MotionVectors(**{**vars(moving), "past": hidden})
    np.testing.assert_array_equal(describe_motion(moving), describe_motion(changed))
