"""Describe the motion of a video in a short vector, by which copies and repeated scenes are found."""

import numpy as np
from numpy.typing import NDArray

from moclip.motion.vectors import NO_VECTOR, MotionVectors

# Parts of the time, and of each side of the picture.
NUM_PARTS, NUM_CELLS = 16, 4


def describe_motion(motion: MotionVectors) -> NDArray[np.float32]:
    """Return how motion changes over a video, float32 (D,): equal for any size, frame rate and bit rate.

    The mean vector and the mean magnitude of the vectors into the past, in 16 parts of the time and 4 x 4 cells of the
    picture. Square roots keep the sign and temper large motion. The mean over time of each cell is subtracted, since
    videos of one class may share it. Zeros describe a video whose motion does not change.
    """
    height, width = motion.past.shape[1:3]
    parts = np.minimum(motion.past_frame_index * NUM_PARTS // max(1, motion.num_frames), NUM_PARTS - 1)
    rows, columns = (np.arange(NUM_CELLS) * size // NUM_CELLS for size in (height, width))
    sums = np.zeros((NUM_PARTS, NUM_CELLS, NUM_CELLS, 3))
    for part in np.unique(parts) if min(height, width) >= NUM_CELLS else ():
        fields = motion.past[parts == part]
        vectors = np.where(fields == NO_VECTOR, 0, fields).astype(np.float32)
        values = np.concatenate([vectors, np.hypot(vectors[..., :1], vectors[..., 1:])], axis=-1).mean(axis=0)
        sums[part] = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    roots = np.sign(sums) * np.sqrt(np.abs(sums) / max(1, height * width))
    filled = np.isin(np.arange(NUM_PARTS), parts)
    roots[filled] -= roots[filled].mean(axis=0, keepdims=True) if filled.any() else 0
    return np.asarray(roots.ravel(), np.float32)
