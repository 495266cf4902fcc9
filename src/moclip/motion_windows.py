"""Stretches of a video's motion, each as if it were a video of its own. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.errors import MoclipError
from moclip.motion import MotionVectors, frames_with_motion

# Times are sums of frame lengths: less than this is rounding.
_SLACK = 1e-6


def slice_motion(motion: MotionVectors, *, start: int, stop: int) -> MotionVectors:
    """Return the vectors of the frames from `start` up to and without `stop`, counted from the first of these.

    Vectors that point to a frame before `start` are kept; what is accumulated begins at `start`.
    """
    past = (motion.past_frame_index >= start) & (motion.past_frame_index < stop)
    future = (motion.future_frame_index >= start) & (motion.future_frame_index < stop)
    return replace(
        motion,
        past=motion.past[past],
        past_frame_index=motion.past_frame_index[past] - start,
        future=motion.future[future],
        future_frame_index=motion.future_frame_index[future] - start,
        picture_type=motion.picture_type[start:stop],
        is_keyframe=motion.is_keyframe[start:stop],
        time_seconds=motion.time_seconds[start:stop],
    )


def has_frames_with_motion(row: Mapping[str, Any]) -> bool:
    """Return whether a network can look at a row of motion vectors: some frame that is predicted has one."""
    none = np.empty((0, 0, 0, 2), np.int16)
    return len(frames_with_motion(MotionVectors(**{**row, "past": none, "future": none}))) > 0


def choose_windows(
    time_seconds: NDArray[np.float64], *, window_seconds: float, step_seconds: float
) -> list[tuple[int, int]]:
    """Return the windows over a video as (first frame, frame after the last), from the times of its frames, rising.

    A window begins every `step_seconds` and holds the frames of `window_seconds`. One that would be cut off by the end
    is left out where windows before it reach the end; there is always one.

    Raises:
        MoclipError: Length or step are not positive.

    >>> choose_windows(np.arange(10) / 2, window_seconds=2, step_seconds=1)
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    """
    if not (window_seconds > 0 and step_seconds > 0):
        raise MoclipError(f"segments: expected lengths above 0 s, found {window_seconds} and a step of {step_seconds}")
    num_frames, first = len(time_seconds), float(time_seconds[0])
    windows: list[tuple[int, int]] = []
    number = 0
    while not windows or windows[-1][1] < num_frames:
        begin = first + number * step_seconds
        start, stop = np.searchsorted(time_seconds, [begin - _SLACK, begin + window_seconds - _SLACK]).tolist()
        if start == num_frames:
            break
        number += 1
        if start < stop:
            windows.append((start, stop))
        else:  # a gap in the times, which may be as long as a damaged file says
            number = max(number, int((time_seconds[start] - first - window_seconds) // step_seconds))
    return windows


def frame_times(motion: MotionVectors) -> tuple[NDArray[np.float64], str]:
    """Return the time of every frame in s, rising, and a note where the file does not give it."""
    times = motion.time_seconds
    if np.isfinite(times).all() and (np.diff(times) >= 0).all():
        return times, ""
    rate = motion.frame_rate if np.isfinite(motion.frame_rate) and motion.frame_rate > 0 else 25.0
    return np.arange(motion.num_frames) / rate, f"the file gives no rising times: {rate:g} frames a second were assumed"
