"""How much moves in each frame of a video, from its motion vectors alone. Pure."""

import numpy as np
from numpy.typing import NDArray

from moclip.motion import MotionVectors, frames_with_motion
from moclip.motion_packing import NO_VECTOR

# Below every amount: a frame whose vectors say nothing of what moves.
UNKNOWN = -1.0
_FIELDS_AT_ONCE = 64


def motion_amounts(motion: MotionVectors) -> NDArray[np.float64]:
    """Return the mean length of each frame's vectors into the past, (T,) float64 in px; `UNKNOWN` where it tells none.

    The mean is over the whole picture: a block without a vector counts as still. Keyframes have no vectors, and those
    of B-frames, which may be predicted from the future, count only in a video without others (`frames_with_motion`).
    """
    amounts = np.full(motion.num_frames, UNKNOWN)
    rows = np.searchsorted(motion.past_frame_index, frames_with_motion(motion))
    for start in range(0, len(rows), _FIELDS_AT_ONCE):
        chosen = rows[start : start + _FIELDS_AT_ONCE]
        vectors = motion.past[chosen]
        moved = np.where((vectors == NO_VECTOR).any(axis=-1, keepdims=True), 0, vectors).astype(np.float64)
        lengths = np.sqrt((moved**2).sum(axis=-1))
        amounts[motion.past_frame_index[chosen]] = lengths.mean(axis=(1, 2)) / motion.motion_scale
    return amounts
