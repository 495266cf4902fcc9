"""Pictures of the motion of a video: frames, block vectors, and the fields that a network sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.core.files import replace_atomically
from moclip.core.images import encode_png, resize_image
from moclip.core.orientation import Orientation
from moclip.errors import MoclipError, VideoError
from moclip.motion.fields import FieldSpec, build_fields, frames_with_motion
from moclip.motion.vectors import MotionVectors
from moclip.pictures.vectors import (
    cells_of_frame,
    cells_without_vector,
    colour_field,
    draw_code,
    draw_vectors,
    draw_wheel,
    lay_over,
    list_blocks,
)
from moclip.video.frames import read_frames
from moclip.video.sampling import choose_segment_frames

Image = NDArray[np.uint8]

# Small frames are drawn at a whole multiple of their size that comes near this, so that arrows can be distinguished.
_GOOD_WIDTH_PX = 960

_WHEEL_PX = 480


@dataclass(frozen=True, kw_only=True)
class DrawingSpec:
    """What is drawn of each video.

    Attributes:
        field: The accumulated field; the raw one takes its stride, and whether the camera is taken off, from it too.
        max_px: Motion at which the colours and the pixel code saturate.
        num_frames: How many frames, spread evenly over those with motion.
        frame_indices: These frames in their stead, where there are any.
        coded: Which of the two fields goes through the pixel code.
    """

    field: FieldSpec
    max_px: float = 20.0
    num_frames: int = 4
    frame_indices: tuple[int, ...] = ()
    coded: str = "accumulated"


@dataclass(frozen=True, kw_only=True)
class FrameDrawing:
    """One frame, drawn.

    Attributes:
        frame_index: Counted in display order.
        picture_type: I, P, B, S ...
        is_keyframe: Whether decoding can start here.
        time_seconds: nan where unknown.
        share_without_vector: Share of the cells that no vector covers, 0 to 1.
        longest_px: Length of the longest block vector, 0 where there is none.
        reference: What the accumulated field counts from, in words.
        pictures: The pictures by name: `frame`, the decoded one, (H, W, 3) uint8 RGB; `vectors`, the layer of the block
            vectors over it, (s H, s W, 4) uint8 RGBA; `raw` and `accumulated`, fields with a px for each sample point,
            (h, w, 3) uint8 RGB; `code-x` and `code-y`, what a network reads, (h, w) uint8 grey.
    """

    frame_index: int
    picture_type: str
    is_keyframe: bool
    time_seconds: float
    share_without_vector: float
    longest_px: float
    reference: str
    pictures: Mapping[str, Image]


@dataclass(frozen=True, kw_only=True)
class VideoDrawing:
    """A video's frames, drawn, and its motion vectors."""

    video_id: str
    motion: MotionVectors
    is_upright: bool
    frames: tuple[FrameDrawing, ...]


def draw_video(path: Path, *, video_id: str, motion: MotionVectors, spec: DrawingSpec) -> VideoDrawing:
    """Return pictures of some frames of a video and of its motion there.

    Raises:
        VideoError: The frames cannot be read, are not those of the vectors, or none of them has motion.
        MoclipError: A frame that was asked for is not in the video.
    """
    indices = _choose_frames(motion, video_id=video_id, spec=spec)
    images = _read_images(path, indices, video_id=video_id, motion=motion)
    raw_spec = replace(spec.field, kind="raw", window=None)
    raw = build_fields(motion, indices, spec=raw_spec)
    accumulated = build_fields(motion, indices, spec=replace(spec.field, kind="accumulated"))
    fields = zip(indices, images, raw, accumulated, strict=True)
    return VideoDrawing(
        video_id=video_id,
        motion=motion,
        is_upright=spec.field.upright,
        frames=tuple(
            _draw_frame(motion, index, image=image, fields={"raw": one, "accumulated": other}, spec=spec)
            for index, image, one, other in fields
        ),
    )


def draw_loop(
    path: Path, *, video_id: str, motion: MotionVectors, num_frames: int, frames_a_second: int, width_px: int
) -> list[Image]:
    """Return successive frames around the middle of those with motion, (h, w, 3) uint8, upright and with their vectors.

    Raises:
        VideoError: The frames cannot be read or are not those of the vectors.
    """
    with_motion = frames_with_motion(motion)
    middle = int(with_motion[len(with_motion) // 2]) if len(with_motion) else motion.num_frames // 2
    step = max(1, round(motion.frame_rate / frames_a_second)) if np.isfinite(motion.frame_rate) else 1
    first = max(0, min(middle - num_frames * step // 2, motion.num_frames - num_frames * step))
    indices = list(range(first, motion.num_frames, step))[:num_frames]
    images = _read_images(path, indices, video_id=video_id, motion=motion)
    # The picture as coded may have to be turned: `width_px` is that of the upright one.
    scale = width_px / (motion.height_px if motion.orientation.is_turned else motion.width_px)
    size = {"width_px": round(scale * motion.width_px), "height_px": max(1, round(scale * motion.height_px))}
    frames = [
        lay_over(resize_image(image, **size), rgba=draw_vectors(motion, frame_index=index, **size))
        for index, image in zip(indices, images, strict=True)
    ]
    return [motion.orientation.apply(frame) for frame in frames]


def _choose_frames(motion: MotionVectors, *, video_id: str, spec: DrawingSpec) -> list[int]:
    if spec.frame_indices:
        wrong = [index for index in spec.frame_indices if not 0 <= index < motion.num_frames]
        if wrong:
            last = motion.num_frames - 1
            raise MoclipError(f"video {video_id}: expected frames of 0-{last}, found {', '.join(map(str, wrong))}")
        return list(spec.frame_indices)
    candidates = frames_with_motion(motion)
    if not len(candidates):
        raise VideoError(reason="no_motion_vectors", detail="no frame has any into the past", video_id=video_id)
    return sorted(set(choose_segment_frames(candidates, num_segments=spec.num_frames, rng=None).tolist()))


def _read_images(path: Path, indices: Sequence[int], *, video_id: str, motion: MotionVectors) -> list[Image]:
    # The decoded frames as the vectors see them: as coded, and of the size that they were transcoded to.
    frames = read_frames(path, video_id=video_id, choose=lambda _: indices)
    if frames.num_frames != motion.num_frames:
        detail = f"{motion.num_frames} frames when its vectors were read, {frames.num_frames} when its pictures were"
        raise VideoError(reason="decode_error", detail=detail, video_id=video_id)
    images = [motion.orientation.undo(image) for image in frames.images]
    if motion.source != "original":
        return [resize_image(image, width_px=motion.width_px, height_px=motion.height_px) for image in images]
    height, width = images[0].shape[:2]
    if (width, height) != (motion.width_px, motion.height_px):
        detail = f"vectors of {motion.width_px}x{motion.height_px} px, pictures of {width}x{height} px"
        raise VideoError(reason="resolution_change", detail=detail, video_id=video_id)
    return images


def _draw_frame(
    motion: MotionVectors, index: int, *, image: Image, fields: dict[str, NDArray[np.float32]], spec: DrawingSpec
) -> FrameDrawing:
    scale = max(1, round(_GOOD_WIDTH_PX / max(motion.width_px, motion.height_px)))
    vectors = draw_vectors(
        motion, frame_index=index, width_px=scale * motion.width_px, height_px=scale * motion.height_px
    )
    orientation = motion.orientation if spec.field.upright else Orientation()
    code_x, code_y = draw_code(fields[spec.coded], max_px=spec.max_px)
    return FrameDrawing(
        frame_index=index,
        picture_type=chr(motion.picture_type[index]),
        is_keyframe=bool(motion.is_keyframe[index]),
        time_seconds=float(motion.time_seconds[index]),
        share_without_vector=float(cells_without_vector(motion, index).mean()),
        longest_px=_longest_px(motion, index),
        reference=_reference(motion, index, window=spec.field.window),
        pictures={
            "frame": orientation.apply(image),
            "vectors": orientation.apply(vectors),
            "raw": colour_field(fields["raw"], max_px=spec.max_px),
            "accumulated": colour_field(fields["accumulated"], max_px=spec.max_px),
            "code-x": code_x,
            "code-y": code_y,
        },
    )


def _longest_px(motion: MotionVectors, index: int) -> float:
    blocks = [
        list_blocks(cells_of_frame(motion, index, is_future=is_future), motion=motion, is_future=is_future)
        for is_future in (False, True)
    ]
    return float(max(np.hypot(*one.motion_px.T).max(initial=0) for one in blocks))


def _reference(motion: MotionVectors, index: int, *, window: int | None) -> str:
    if window is not None:
        return "over the last frame" if window == 1 else f"over the last {window} frames"
    starts = np.flatnonzero((motion.is_keyframe | np.isin(motion.picture_type, list(b"Iib")))[: index + 1])
    return f"since frame {starts[-1] if len(starts) else 0}"


def write_pictures(folder: Path, *, drawing: VideoDrawing, name: str) -> list[Path]:
    """Write every picture of a video as `NAME-frame-0012-WHAT.png` and return the paths; nothing is lost in them.

    WHAT is the name of a picture; the `vectors` are drawn over the frame.
    """
    paths: list[Path] = []
    for frame in drawing.frames:
        height, width = frame.pictures["vectors"].shape[:2]
        under = resize_image(frame.pictures["frame"], width_px=width, height_px=height)
        for what, image in frame.pictures.items():
            paths.append(folder / f"{name}-frame-{frame.frame_index:04d}-{what}.png")
            _write_png(paths[-1], lay_over(under, rgba=image) if what == "vectors" else image)
    return paths


def write_wheel(folder: Path, *, max_px: float) -> Path:
    """Write the wheel of the colours as `wheel.png`, clear around it, and return the path."""
    path = folder / "wheel.png"
    _write_png(path, draw_wheel(size_px=_WHEEL_PX, max_px=max_px))
    return path


def _write_png(path: Path, image: Image) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_bytes(encode_png(image))
