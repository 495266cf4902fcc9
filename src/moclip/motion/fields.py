"""Motion fields: dense (H, W, 2) arrays from motion vectors, raw or accumulated, over windows, and their magnitude."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from moclip.errors import MoclipError
from moclip.motion.accumulation import Chain, Steps, accumulate_densely, trace_back
from moclip.motion.camera import remove_camera
from moclip.motion.vectors import CELL_PX, NO_VECTOR, MotionVectors

if TYPE_CHECKING:
    from moclip.config.network_settings import FieldSettings

FieldKind = Literal["raw", "accumulated"]

_INTRA_TYPES = np.frombuffer(b"Iib", np.uint8)

_B_TYPE = ord("B")


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


def build_field_spec(field: "FieldSettings") -> FieldSpec:
    """Return the specification of the field that settings describe; a window of 0 starts at the last keyframe."""
    return FieldSpec(
        kind=field.kind,
        window=field.window or None,
        stride=field.stride,
        compensate_camera=field.compensate_camera,
        upright=field.upright,
    )


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
    return motion.orientation.apply_to_fields(fields) if spec.upright else fields


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


# The code of no motion.
ZERO_CODE = 128


def pixel_code(fields: NDArray[np.float32], *, max_px: float = 20.0) -> NDArray[np.uint8]:
    """Return motion in px as bytes of the same shape: 128 for none, 255 from `max_px` on, 0 beyond `-max_px`.

    The product is cut toward zero before 128 is added, so that opposite motions have opposite codes: 122 and 134 for
    one pixel at the default.

    Source: CoViAR (Wu et al. 2018, arXiv 1712.00636), dataset.py of the authors' code, `v * 127.5 / 20 + 128`.
    """
    codes = fields * np.float32(127.5 / max_px)
    np.trunc(codes, out=codes)
    codes += ZERO_CODE
    return np.clip(codes, 0, 255, out=codes).astype(np.uint8)


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


# Below every amount: a frame whose vectors say nothing of what moves.
UNKNOWN = -1.0

_FIELDS_AT_ONCE = 64


def motion_amounts(motion: MotionVectors) -> NDArray[np.float64]:
    """Return the mean length of each frame's vectors into the past, (T,) float64 in px; `UNKNOWN` where there is none.

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
