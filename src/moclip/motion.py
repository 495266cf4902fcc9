"""Motion vectors of a video, and the motion fields a network sees. Pure numpy; nothing here opens a video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moclip.errors import MoclipError
from moclip.motion_camera import remove_camera
from moclip.motion_packing import NO_VECTOR, pack_fields, unpack_fields
from moclip.motion_trace import Chain, Steps, accumulate_densely, trace_back

FieldKind = Literal["raw", "accumulated"]
CELL_PX = 8
_INTRA_TYPES = np.frombuffer(b"Iib", np.uint8)
_B_TYPE = ord("B")
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


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """Which motion field to build.

    Attributes:
        kind: `raw` is the motion of each block against the frame it was predicted from, to the sub-pixel; `accumulated`
            the displacement since the reference frame, in whole pixels, each step cut as FFmpeg cuts it.
        window: What `accumulated` goes back to. None: the last keyframe or I-frame, as CoViAR does. N: the frame N
            earlier, or where prediction steps over it, the first one before that; keyframes are passed, as if nothing
            had moved into them.
        stride: Sample every 1, 2, 4 or 8 px, at the points `stride // 2 + stride * i`; exact at those points.
        compensate_camera: Whether the motion of the camera, a robust affine fit, is taken off.
        upright: Whether the field is turned as the video's rotation says.
    """

    kind: FieldKind = "accumulated"
    window: int | None = None
    stride: int = 1
    compensate_camera: bool = False
    upright: bool = False


def build_fields(
    motion: MotionVectors, frame_indices: Sequence[int] | NDArray[np.integer], *, spec: FieldSpec
) -> NDArray[np.float32]:
    """Return (S, h, w, 2) float32: visible motion in px, x then y, right and down positive, 0 where there is none.

    h and w are the numbers of sample points inside the picture, height / stride and width / stride where these are
    whole. In a B-frame only the vectors into the past count; they go to the last I- or P-frame before it.

    Raises:
        MoclipError: A frame is not in the video, or the specification is impossible.

    Source: Wu et al., "Compressed Video Action Recognition", CVPR 2018, section 3.2 (accumulated).
    """
    frames = np.asarray(frame_indices, np.intp).reshape(-1)
    _check_request(motion, frames, spec=spec)
    if spec.kind == "raw":
        fields, valid = _raw_fields(motion, frames, stride=spec.stride)
    else:
        fields, valid = _accumulated_fields(motion, frames, spec=spec), None
    if spec.compensate_camera:
        remove_camera(fields, valid=valid)
    return turn_fields(fields, rotation_degrees=motion.rotation_degrees) if spec.upright else fields


def _check_request(motion: MotionVectors, frames: NDArray[np.intp], *, spec: FieldSpec) -> None:
    if len(frames) and not 0 <= frames.min() <= frames.max() < motion.num_frames:
        found = f"{frames.min()}-{frames.max()}"
        raise MoclipError(f"motion field: expected frames of 0-{motion.num_frames - 1}, found {found}")
    if spec.stride not in (1, 2, 4, 8):
        raise MoclipError(f"motion field: expected a stride of 1, 2, 4 or 8 px, found {spec.stride}")
    if spec.window is not None and spec.window < 1:
        raise MoclipError(f"motion field: expected a window of at least 1 frame or none, found {spec.window}")
    if spec.kind not in ("raw", "accumulated"):
        raise MoclipError(f"motion field: expected the kind raw or accumulated, found {spec.kind!r}")


def frames_with_motion(motion: MotionVectors) -> NDArray[np.int32]:
    """Return the ascending indices of the frames whose field says what moves: P-frames with vectors.

    B-frames, which may be predicted from the future alone, count only where there are no others.
    """
    index = motion.past_frame_index[~_is_reset(motion)[motion.past_frame_index]]
    anchors = index[motion.picture_type[index] != _B_TYPE]
    return anchors if len(anchors) else index


def pixel_code(field: NDArray[np.float32], *, max_px: float = 20.0) -> NDArray[np.float32]:
    """Return the field as the network reads it: float32 in -0.5 to 0.5, of 8 bits, where `max_px` saturate.

    Source: METHOD of MoCLIP-Lite and CoViAR: `v * 127.5 / 20 + 128`, cut to uint8, `/ 255 - 0.5`.
    """
    code = field * np.float32(127.5 / max_px)
    code += 128
    np.clip(code, 0, 255, out=code)
    np.floor(code, out=code)
    code /= 255
    code -= 0.5
    return code


def flip_fields(fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (..., h, w, 2) fields of the mirrored video: left and right change places, x changes its sign."""
    return fields[..., ::-1, :] * np.array([-1, 1], np.float32)


def turn_fields(fields: NDArray[np.float32], *, rotation_degrees: int) -> NDArray[np.float32]:
    """Return (..., h, w, 2) fields of the video turned clockwise by a multiple of 90 degrees."""
    for _ in range(rotation_degrees // 90 % 4):
        turned = np.rot90(fields, -1, axes=(-3, -2))
        # What went right goes down now, what went down goes left.
        fields = np.stack([-turned[..., 1], turned[..., 0]], axis=-1)
    return fields


def _raw_fields(
    motion: MotionVectors, frames: NDArray[np.intp], *, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    row_of_frame = _row_of_frame(motion)[frames]
    cells = np.full((len(frames), *motion.past.shape[1:]), NO_VECTOR, np.int16)
    cells[row_of_frame >= 0] = motion.past[row_of_frame[row_of_frame >= 0]]
    valid = (cells != NO_VECTOR).any(axis=-1)
    field = cells * np.float32(-1 / motion.motion_scale)
    field[~valid] = 0
    rows = np.arange(stride // 2, motion.height_px, stride) // CELL_PX
    columns = np.arange(stride // 2, motion.width_px, stride) // CELL_PX
    # Both components as one item, which halves the work.
    field = field.view(np.complex64).take(rows, axis=1).take(columns, axis=2).view(np.float32)
    return field, valid[:, rows][:, :, columns]


def _accumulated_fields(motion: MotionVectors, frames: NDArray[np.intp], *, spec: FieldSpec) -> NDArray[np.float32]:
    steps = Steps(vectors=motion.past, scale=motion.motion_scale, width_px=motion.width_px, height_px=motion.height_px)
    chains = _chains(motion, frames, window=spec.window)
    # What each way has to do: move whole pictures, or follow the sample along each chain at a third of the speed.
    num_pictures = len({row for chain in chains for row in chain}) if spec.window is None else sum(map(len, chains))
    num_samples = 3 * sum(map(len, chains)) / spec.stride**2
    return (accumulate_densely if num_pictures < num_samples else trace_back)(steps, chains, stride=spec.stride)


def _chains(motion: MotionVectors, frames: NDArray[np.intp], *, window: int | None) -> list[Chain]:
    # From each frame back over the frames it was predicted from: the I- and P-frames before it.
    row_of_frame = _row_of_frame(motion).tolist()
    is_anchor = motion.picture_type != _B_TYPE
    last_anchor = np.maximum.accumulate(np.where(is_anchor, np.arange(motion.num_frames), -1)).tolist()
    is_reset = _is_reset(motion).tolist()
    chains = []
    for frame in frames.tolist():
        stop = -1 if window is None else max(frame - window, -1)
        rows: list[int] = []
        at = frame
        while at > stop and not (window is None and is_reset[at]):
            if row_of_frame[at] >= 0:
                rows.append(row_of_frame[at])
            at = last_anchor[at - 1] if at else -1
        chains.append(tuple(rows))
    return chains


def _is_reset(motion: MotionVectors) -> NDArray[np.bool_]:
    return motion.is_keyframe | np.isin(motion.picture_type, _INTRA_TYPES)


def _row_of_frame(motion: MotionVectors) -> NDArray[np.intp]:
    row = np.full(motion.num_frames, -1, np.intp)
    row[motion.past_frame_index] = np.arange(len(motion.past_frame_index))
    return row


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
