"""Videos in and out: motion vectors and frames of a file, and files made of frames. The room that opens FFmpeg.

One thread decodes: with several, FFmpeg loses vectors of some frames, differently in every run. Run videos side by side
instead. Files are opened with the `file` protocol alone, so that a playlist cannot make FFmpeg fetch anything.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import PictureType
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from moclip.errors import MoclipError, VideoError
from moclip.motion import MotionVectors, motion_from_row
from moclip.motion_stream import MotionStream, VectorError
from moclip.spool import Spool
from moclip.transcode import HEIGHT_PX, RECIPE, WIDTH_PX, transcode_frames
from moclip.video_file import NO_TIME, VideoFile, open_video

MotionSource = Literal["original", "transcode", "auto"]
VideoCodec = Literal["h264", "mpeg4"]

# FFmpeg's decoders that hand out their vectors. Those of two families give the same ones when they decode at an eighth
# of the size; and those of H.263's never write the vectors of B-frames, where they hand out zeros or what lay there.
_MPEG_DECODERS = {"mpeg1video", "mpeg2video"}
_H263_DECODERS = {"h261", "h263", "flv", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "rv10", "rv20", "wmv1", "wmv2"}
_LOWRES_DECODERS = _MPEG_DECODERS | _H263_DECODERS
_VECTOR_DECODERS = _LOWRES_DECODERS | {"h264"}
_EXPORT = {"flags2": "+export_mvs", "skip_loop_filter": "all"}
_EXPORT_LOWRES = {**_EXPORT, "skip_idct": "all", "lowres": "3"}

_PICTURE_TYPES = np.frombuffer(b"?IPBSipb", np.uint8)
_TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# A frame keeps the container that its own property makes, and the container the frame: a cycle, hundreds of megabytes
# before it is collected. Made here, the container goes with its last name.
_side_data = cast(Callable[[av.VideoFrame], Mapping[Type, Any]], SideDataContainer)

_ENCODERS: dict[VideoCodec, Literal["libx264", "mpeg4"]] = {"h264": "libx264", "mpeg4": "mpeg4"}
_DEFAULT_QUALITY: dict[VideoCodec, int] = {"h264": 20, "mpeg4": 4}
_MAX_GOP = 600
_NO_SCENE_CUTS = {"h264": "0", "mpeg4": "1000000000"}


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Chosen frames of a video.

    Attributes:
        images: K arrays (H, W, 3) uint8 RGB, upright, in the order that they were chosen.
        frame_index: (K,) int32, counted in display order.
        time_seconds: (K,) float64, nan where unknown.
        num_frames: Number of frames of the video, counted by decoding.
    """

    images: tuple[NDArray[np.uint8], ...]
    frame_index: NDArray[np.int32]
    time_seconds: NDArray[np.float64]
    num_frames: int


def libavcodec_version() -> str:
    """Return the version of FFmpeg's decoders, which B-frame vectors of MPEG-4 depend on."""
    return ".".join(str(part) for part in av.library_versions["libavcodec"])


def prepare_worker() -> None:
    """Make this process keep freed memory for its next video; worth a few per cent of speed, called once.

    The C library hands large blocks back to the system at once, and pays for every page of the next ones, until it has
    freed a block of a size: here 31 MB, the largest that it learns from.
    """
    block = np.empty(31 << 20, np.uint8)
    del block


def read_motion(path: Path, *, video_id: str, source: MotionSource = "original") -> MotionVectors:
    """Return every motion vector of a video, as `read_motion_row` finds them."""
    row = read_motion_row(path, video_id=video_id, source=source)
    return motion_from_row(row | {name: cast(Spool, row[name]).read() for name in ("past", "future")})


def read_motion_row(
    path: Path, *, video_id: str, source: MotionSource = "original", spool_folder: Path | None = None
) -> dict[str, Any]:
    """Return every motion vector of a video as a shard stores it: what `motion_to_row` gives, spooled.

    Memory does not grow with the length of the video.

    Args:
        path: The file.
        video_id: The video's name in errors.
        source: `original` takes the vectors of the file's own stream; `transcode` those of the frames re-encoded in
            memory (`moclip.transcode`); `auto` the original ones where there are any.
        spool_folder: Where packed vectors wait that are too many for memory; None for the system's own place.

    Raises:
        VideoError: The video has no vectors, for a reason of `errors.REJECT_REASONS`.
    """
    if source not in ("original", "transcode", "auto"):
        raise MoclipError(f"motion source: expected original, transcode or auto, found {source!r}")
    if source != "transcode":
        try:
            return _read_original(path, video_id=video_id, spool_folder=spool_folder)
        except VideoError as error:
            if source == "original" or error.reason != "no_motion_vectors":
                raise
    return _read_transcoded(path, video_id=video_id, spool_folder=spool_folder)


def read_frames(path: Path, *, video_id: str, choose: Callable[[int], Sequence[int]]) -> Frames:
    """Return the frames that `choose` picks when it is told their number.

    Frames are decoded in order and counted, since containers miscount and seeking returns other frames on real files.

    Raises:
        VideoError: The video cannot be read to its end, or has fewer frames than were chosen.
    """
    num_expected = 0
    for _ in range(2):
        with open_video(path, video_id=video_id) as video:
            wanted = {int(index) for index in choose(num_expected or video.likely_num_frames())}
            kept, num_frames = _keep_frames(video, wanted)
        indices = [int(index) for index in choose(num_frames)]
        if kept.keys() >= set(indices):
            return Frames(
                images=tuple(kept[index][0] for index in indices),
                frame_index=np.array(indices, np.int32),
                time_seconds=np.array([kept[index][1] for index in indices], np.float64),
                num_frames=num_frames,
            )
        # The container's count was wrong and other frames are wanted: once more, with the true one.
        num_expected = num_frames
    detail = f"expected indices of its {num_frames} frames, found {indices}"
    raise VideoError(reason="too_short", detail=detail, video_id=video_id)


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    codec: VideoCodec,
    frame_rate: int,
    gop: int,
    max_b_frames: int = 0,
    quality: int | None = None,
) -> None:
    """Write frames as a video, with the same bytes on every run; the suffix of the path names the container.

    Args:
        path: The file to write.
        frames: (H, W, 3) uint8 RGB images, all of one size.
        codec: `h264` (libx264; even sizes only) or `mpeg4` (part 2).
        frame_rate: Frames a second.
        gop: A keyframe every so many frames, and nowhere else.
        max_b_frames: At most so many B-frames between two others.
        quality: Constant quality, smaller is better: the rate factor of H.264 (0-51) or the quantiser of MPEG-4 (1-31).

    Raises:
        MoclipError: There is no frame, or the encoder takes no picture of this size.
    """
    coming = iter(frames)
    first = next(coming, None)
    if first is None:
        raise MoclipError(f"{path}: expected at least one frame to encode, found none")
    height_px, width_px = first.shape[:2]
    if codec == "h264" and (height_px % 2 or width_px % 2):
        raise MoclipError(f"{path}: expected even sizes for H.264, found {width_px}x{height_px}; crop or use mpeg4")
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            _ENCODERS[codec], rate=frame_rate, options=_encoder_options(codec, quality=quality)
        )
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        # Keyframes are asked for one by one: an encoder that counts by itself puts them elsewhere among B-frames.
        context.gop_size = min(2 * gop, _MAX_GOP)
        context.max_b_frames = max_b_frames
        context.time_base = Fraction(1, frame_rate)
        for index, image in enumerate(chain([first], coming)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, context.time_base
            if index % gop == 0:
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _encoder_options(codec: VideoCodec, *, quality: int | None) -> dict[str, str]:
    # No scene cuts: the keyframes lie where `gop` says, whatever the frames show.
    chosen = str(_DEFAULT_QUALITY[codec] if quality is None else quality)
    common = {"threads": "1", "sc_threshold": _NO_SCENE_CUTS[codec], "flags": "+bitexact"}
    if codec == "h264":
        # x264's look-ahead by macroblock trees gives other bytes in some runs, even with one thread.
        common["mbtree"] = "0"
        return {**common, "crf": chosen, "preset": "medium", "forced-idr": "1"}
    return {**common, "qmin": chosen, "qmax": chosen}


def _read_original(path: Path, *, video_id: str, spool_folder: Path | None) -> dict[str, Any]:
    with open_video(path, video_id=video_id) as video:
        context = video.stream.codec_context
        if context.name not in _VECTOR_DECODERS:
            detail = f"FFmpeg exports none of {video.codec_name}; transcode the video (motion source `auto`)"
            raise video.reject("no_motion_vectors", detail)
        video.set_options(_EXPORT_LOWRES if context.name in _LOWRES_DECODERS else _EXPORT)
        first, frames = _peek(video.decode())
        row = _collect_motion(video, frames, size=video.picture_size(first), spool_folder=spool_folder)
        return row | {"rotation_degrees": _rotation_degrees(first), "source": "original"}


def _read_transcoded(path: Path, *, video_id: str, spool_folder: Path | None) -> dict[str, Any]:
    with open_video(path, video_id=video_id) as video:
        first, frames = _peek(video.decode())
        timestamps = array("q")

        def stamped() -> Iterator[av.VideoFrame]:
            for frame in frames:
                timestamps.append(NO_TIME if frame.pts is None else frame.pts)
                yield frame

        again = transcode_frames(
            stamped(), rotation_degrees=_rotation_degrees(first), decoder_options=dict(_EXPORT_LOWRES)
        )
        try:
            row = _collect_motion(video, again, size=(WIDTH_PX, HEIGHT_PX), spool_folder=spool_folder)
        except av.FFmpegError as error:
            raise video.reject("decode_error", f"the frames cannot be transcoded: {error.strerror}") from None
        num_frames = len(row["picture_type"])
        if num_frames != len(timestamps):
            raise video.reject("decode_error", f"{len(timestamps)} frames became {num_frames} in transcoding")
        return row | {"rotation_degrees": 0, "source": RECIPE, "time_seconds": video.seconds(timestamps)}


def _peek(frames: Iterator[av.VideoFrame]) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]]:
    first = next(frames)
    return first, chain([first], frames)


def _collect_motion(
    video: VideoFile, frames: Iterable[av.VideoFrame], *, size: tuple[int, int], spool_folder: Path | None
) -> dict[str, Any]:
    past, future = Spool(folder=spool_folder), Spool(folder=spool_folder)
    stream = MotionStream(width_px=size[0], height_px=size[1], emit_past=past.append, emit_future=future.append)
    without_vectors = PictureType.B if video.stream.codec_context.name in _H263_DECODERS else None
    types, keyframes, timestamps = bytearray(), bytearray(), array("q")
    try:
        for index, frame in enumerate(frames):
            kind = frame.pict_type
            if kind != without_vectors:
                vectors = _side_data(frame).get(Type.MOTION_VECTORS)
                if vectors is not None:
                    stream.add(index, memoryview(vectors))
            types.append(kind)
            keyframes.append(frame.key_frame)
            pts = frame.pts
            timestamps.append(NO_TIME if pts is None else pts)
        found = stream.finish()
    except VectorError as error:
        raise video.reject("decode_error", str(error)) from None
    if not found.motion_scale:
        raise video.reject("no_motion_vectors", f"none of {len(types)} {video.codec_name} frames has any")
    return {
        "past": past,
        "future": future,
        **vars(found),
        "picture_type": _PICTURE_TYPES[np.frombuffer(types, np.uint8)],
        "is_keyframe": np.frombuffer(keyframes, np.bool_),
        "time_seconds": video.seconds(timestamps),
        "width_px": size[0],
        "height_px": size[1],
        "codec_name": video.codec_name,
        "frame_rate": video.frame_rate,
    }


def _keep_frames(video: VideoFile, wanted: Set[int]) -> tuple[dict[int, tuple[NDArray[np.uint8], float]], int]:
    kept: dict[int, tuple[NDArray[np.uint8], float]] = {}
    num_frames = 0
    for frame in video.decode():
        if num_frames in wanted:
            kept[num_frames] = (_to_rgb(video, frame), float(video.seconds([frame.pts])[0]))
        num_frames += 1
    return kept, num_frames


def _to_rgb(video: VideoFile, frame: av.VideoFrame) -> NDArray[np.uint8]:
    try:
        rgb = frame.reformat(format="rgb24", interpolation=_TO_RGB, threads=1)
    except av.FFmpegError as error:
        raise video.reject("decode_error", f"no way from {frame.format.name} to RGB: {error.strerror}") from None
    upright = np.rot90(rgb.to_ndarray(), -_rotation_degrees(frame) // 90)
    return np.ascontiguousarray(upright, np.uint8)


def _rotation_degrees(frame: av.VideoFrame) -> int:
    # FFmpeg gives the counterclockwise turn; one that is no quarter turn (or nan, an integer by then) is none at all.
    return -frame.rotation % 360 if frame.rotation % 90 == 0 else 0
