"""Videos in and out: motion vectors and frames of a file, and files made of frames. The room that opens FFmpeg.

One thread decodes: with several, FFmpeg loses vectors of some frames, differently in every run. Run videos side by side
instead. Files are opened with the `file` protocol alone, so that a playlist cannot make FFmpeg fetch anything.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.sidedata.motionvectors import MotionVectors as MotionVectorData
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import PictureType
from numpy.typing import NDArray

from moclip.errors import MoclipError, VideoError
from moclip.motion import MotionVectors, motion_from_row
from moclip.motion_stream import MotionStream, VectorError
from moclip.spool import Spool
from moclip.transcode import HEIGHT_PX, RECIPE, WIDTH_PX, transcode_frames
from moclip.video_file import NO_TIME, VideoFile, open_video, rotation_degrees

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
# A frame keeps the container that its own property makes, and the container the frame: a cycle, hundreds of megabytes
# before it is collected. Made here, the container goes with its last name; and without the methods of a mapping it is
# made in half the time.
_side_data = cast(Callable[[av.VideoFrame], Iterable[Any]], SideDataContainer.__base__)

_ENCODERS: dict[VideoCodec, Literal["libx264", "mpeg4"]] = {"h264": "libx264", "mpeg4": "mpeg4"}
_DEFAULT_QUALITY: dict[VideoCodec, int] = {"h264": 20, "mpeg4": 4}
_MAX_GOP = 600
_NO_SCENE_CUTS = {"h264": "0", "mpeg4": "1000000000"}


def libavcodec_version() -> str:
    """Return the version of FFmpeg's decoders, which B-frame vectors of MPEG-4 depend on."""
    return ".".join(str(part) for part in av.library_versions["libavcodec"])


@cache
def prepare_worker() -> None:
    """Make this process keep freed memory for its next video; worth a few per cent of speed, done once.

    The C library hands large blocks back to the system at once, and pays for every page of the next ones, until it has
    freed a block of a size: here 31 MB, the largest that it learns from.
    """
    block = np.empty(31 << 20, np.uint8)
    del block


def decode_motion(*, video_id: str, path: str, source: MotionSource, spool_folder: str | None) -> dict[str, Any]:
    """Return `read_motion_row` of JSON values, for a worker process (`moclip.isolation`)."""
    prepare_worker()
    folder = None if spool_folder is None else Path(spool_folder)
    return read_motion_row(Path(path), video_id=video_id, source=source, spool_folder=folder)


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
        return row | {"rotation_degrees": rotation_degrees(first), "source": "original"}


def _read_transcoded(path: Path, *, video_id: str, spool_folder: Path | None) -> dict[str, Any]:
    with open_video(path, video_id=video_id) as video:
        first, frames = _peek(video.decode())
        timestamps = array("q")

        def stamped() -> Iterator[av.VideoFrame]:
            for frame in frames:
                timestamps.append(NO_TIME if frame.pts is None else frame.pts)
                yield frame

        again = transcode_frames(
            stamped(), rotation_degrees=rotation_degrees(first), decoder_options=dict(_EXPORT_LOWRES)
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
                for side_data in _side_data(frame):
                    if type(side_data) is MotionVectorData:
                        stream.add(index, memoryview(side_data))
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
