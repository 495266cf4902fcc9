"""The motion vectors of a video, and their row in a shard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.motion.packing import pack_fields, unpack_fields

CELL_PX = 8

_STORED_AS_THEY_ARE = (
    "past_frame_index",
    "future_frame_index",
    "picture_type",
    "is_keyframe",
    "time_seconds",
    "motion_scale",
    "width_px",
    "height_px",
    "rotation_degrees",
    "codec_name",
    "frame_rate",
    "source",
)


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
        motion_scale: Vector units in a pixel: 2, or 4 (H.264, quarter-pel MPEG-4).
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


def motion_to_row(motion: MotionVectors) -> dict[str, NDArray[Any] | str | float | int]:
    """Return what a shard stores of the vectors: arrays by name, and scalars; `past` and `future` packed."""
    as_they_are = {name: getattr(motion, name) for name in _STORED_AS_THEY_ARE}
    return {"past": pack_fields(motion.past), "future": pack_fields(motion.future), **as_they_are}


def motion_from_row(row: Mapping[str, Any]) -> MotionVectors:
    """Return the vectors that `motion_to_row` took apart, bit for bit."""
    height, width = -(-int(row["height_px"]) // 16), -(-int(row["width_px"]) // 16)
    past_frame_index = np.asarray(row["past_frame_index"], np.int32)
    future_frame_index = np.asarray(row["future_frame_index"], np.int32)
    return MotionVectors(
        past=unpack_fields(row["past"], num_fields=len(past_frame_index), height=height, width=width),
        past_frame_index=past_frame_index,
        future=unpack_fields(row["future"], num_fields=len(future_frame_index), height=height, width=width),
        future_frame_index=future_frame_index,
        picture_type=np.asarray(row["picture_type"], np.uint8),
        is_keyframe=np.asarray(row["is_keyframe"], np.bool_),
        time_seconds=np.asarray(row["time_seconds"], np.float64),
        motion_scale=int(row["motion_scale"]),
        width_px=int(row["width_px"]),
        height_px=int(row["height_px"]),
        rotation_degrees=int(row["rotation_degrees"]),
        codec_name=str(row["codec_name"]),
        frame_rate=float(row["frame_rate"]),
        source=str(row["source"]),
    )
