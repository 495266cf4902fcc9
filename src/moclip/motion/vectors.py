"""The motion vectors of a video."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.core.orientation import Orientation

CELL_PX = 8

NO_VECTOR = -32768

# A cell without a vector: both components in one int32, x in the low half.
EMPTY = np.array([NO_VECTOR] * 2, np.int16).view(np.int32)[0]


def grid_shape(*, width_px: int, height_px: int) -> tuple[int, int]:
    """Return the rows and columns of the grid of cells that covers all macroblocks of a picture, both even."""
    return 2 * -(-height_px // 16), 2 * -(-width_px // 16)


@dataclass(frozen=True, kw_only=True)
class MotionVectors:
    """Every block vector of a video, on a grid of 8 x 8 px cells, one vector field a frame and direction.

    Attributes:
        past: (P, Hb, Wb, 2) int16, 1/`motion_scale` px, x then y: FFmpeg's `motion_x, motion_y`, which point from a
            block back to its source in an earlier frame (content that moves right has a negative x). Both components
            are `NO_VECTOR` where a cell has none: intra, or not covered. (Hb, Wb) is `grid_shape`.
        past_frame_index: (P,) int32, ascending: the frames that have such vectors.
        future: (F, Hb, Wb, 2) int16, the same for the vectors of B-frames that point to a later frame.
        future_frame_index: (F,) int32, ascending.
        picture_type: (T,) uint8, ASCII code of I, P, B, S ...; T is the number of frames, in display order.
        is_keyframe: (T,) bool.
        time_seconds: (T,) float64, nan where unknown.
        motion_scale: Vector units in a pixel: 2, or 4 (H.264, quarter-pel MPEG-4).
        width_px: Width of the decoded picture, before rotation.
        height_px: Height of the decoded picture, before rotation.
        rotation_degrees: Clockwise turn that shows the picture upright: 0, 90, 180 or 270.
        is_mirrored: True to mirror the picture left to right before it is turned.
        codec_name: FFmpeg's name of the codec of the file.
        frame_rate: Frames a second, nan where unknown.
        source: `original`, or `transcode:` and the recipe.
    """

    past: NDArray[np.int16]
    past_frame_index: NDArray[np.int32]
    future: NDArray[np.int16]
    future_frame_index: NDArray[np.int32]
    picture_type: NDArray[np.uint8]
    is_keyframe: NDArray[np.bool_]
    time_seconds: NDArray[np.float64]
    motion_scale: int
    width_px: int
    height_px: int
    rotation_degrees: int
    is_mirrored: bool
    codec_name: str
    frame_rate: float
    source: str

    @property
    def orientation(self) -> Orientation:
        """Orientation that shows the picture upright."""
        return Orientation(is_mirrored=self.is_mirrored, rotation_degrees=self.rotation_degrees)

    @property
    def num_frames(self) -> int:
        """Number of frames, counted by decoding."""
        return len(self.picture_type)


def motion_from_row(row: Mapping[str, Any]) -> MotionVectors:
    """Return the vectors that a row of a motion shard holds."""
    return MotionVectors(**{field.name: row[field.name] for field in fields(MotionVectors)})
