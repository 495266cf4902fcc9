"""Motion vectors of a video, and the motion fields a network sees. Pure numpy; nothing here opens a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

NO_VECTOR = -32768
CELL_PX = 8
FieldKind = Literal["raw", "accumulated"]


@dataclass(frozen=True, kw_only=True)
class MotionVectors:
    """Every block vector of a video, on a grid of 8 x 8 px cells, one vector field a frame and direction.

    Attributes:
        past: (P, Hb, Wb, 2) int16, 1/`motion_scale` px, x then y: FFmpeg's `motion_x, motion_y`, which point from a
            block back to its source in an earlier frame (content that moves right has a negative x). Both components
            are `NO_VECTOR` where a cell has none: intra, or not covered. Hb = 2 ceil(height / 16), Wb likewise.
        past_frame_index: (P,) int32, ascending: the frames that have such vectors.
        future: (F, Hb, Wb, 2) int16, the same for the vectors of B-frames that point to a later frame.
        future_frame_index: (F,) int32, ascending.
        picture_type: (T,) uint8, ASCII code of I, P, B, S ...; T is the number of frames, in display order.
        is_keyframe: (T,) bool.
        time_seconds: (T,) float64, nan where unknown.
        motion_scale: Vector units in a pixel: 4 (H.264) or 2.
        width_px: Width of the decoded picture, before rotation.
        height_px: Height of the decoded picture, before rotation.
        rotation_degrees: Clockwise turn, 0-359, that shows the picture upright.
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
    codec_name: str
    frame_rate: float
    source: str

    @property
    def num_frames(self) -> int:
        """Number of frames, counted by decoding."""
        return len(self.picture_type)


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """Which motion field to build.

    Attributes:
        kind: `raw` (motion against the reference frame of each block) or `accumulated` (since the reference frame).
        window: Number of frames to accumulate over; None accumulates since the keyframe, as CoViAR does.
        stride: Sample every 1, 2, 4 or 8 px, at the points `stride // 2 + stride * i`.
        compensate_camera: Whether a robust global fit (camera motion) is taken off.
    """

    kind: FieldKind = "accumulated"
    window: int | None = None
    stride: int = 1
    compensate_camera: bool = False


def build_fields(
    motion: MotionVectors, frame_indices: Sequence[int] | NDArray[np.integer], *, spec: FieldSpec
) -> NDArray[np.float32]:
    """Return (S, H / stride, W / stride, 2) float32: visible motion in px, right and down positive, 0 where none."""
    raise NotImplementedError
