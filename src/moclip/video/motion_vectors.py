"""Read the motion vectors of a video file with PyAV.

One thread decodes: with several, FFmpeg loses vectors of some frames, differently in every run. Process videos in
parallel instead. Files are opened with the `file` protocol only, so that a playlist cannot make FFmpeg fetch anything.
"""

import logging
from array import array
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.sidedata.motionvectors import MotionVectors as MotionVectorData
from av.video.frame import PictureType

from moclip.core.orientation import Orientation
from moclip.core.spool import Spool
from moclip.errors import MoclipError, VideoError
from moclip.motion.collector import MotionStream, VectorError
from moclip.motion.vectors import MotionVectors, grid_shape, motion_from_row
from moclip.video.container import NO_TIME, VideoFile, open_video, orientation_of, side_data
from moclip.video.transcode import HEIGHT_PX, RECIPE, WIDTH_PX, transcode_frames

_log = logging.getLogger(__name__)

MotionSource = Literal["original", "transcode", "auto"]

# FFmpeg's decoders that hand out their vectors. Those of two families give the same ones when they decode at an eighth
# of the size; and those of H.263's never write the vectors of B-frames, where they hand out zeros or what lay there.
_MPEG_DECODERS = {"mpeg1video", "mpeg2video"}

_H263_DECODERS = {"h261", "h263", "flv", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "rv10", "rv20", "wmv1", "wmv2"}

_LOWRES_DECODERS = _MPEG_DECODERS | _H263_DECODERS

_VECTOR_DECODERS = _LOWRES_DECODERS | {"h264"}

_EXPORT = {"flags2": "+export_mvs", "skip_loop_filter": "all"}

_EXPORT_LOWRES = {**_EXPORT, "skip_idct": "all", "lowres": "3"}

_PICTURE_TYPES = np.frombuffer(b"?IPBSipb", np.uint8)


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
    """Return `read_motion_row` of JSON values, for a worker process (`moclip.video.isolation`)."""
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
    """Return every motion vector of a video as the values of a row, `past` and `future` spooled.

    Memory does not grow with the length of the video.

    Args:
        path: The file.
        video_id: The video's name in errors.
        source: `original` takes the vectors of the file's own stream; `transcode` those of the frames re-encoded in
            memory (`moclip.video.transcode`); `auto` the original ones where there are any and none is of a field.
        spool_folder: Folder for vectors that are too many for memory; None for the system's folder.

    Raises:
        VideoError: The video has no vectors, for a reason of `errors.REJECT_REASONS`.
    """
    if source not in ("original", "transcode", "auto"):
        raise MoclipError(f"motion source: expected original, transcode or auto, found {source!r}")
    if source != "transcode":
        try:
            return _read_original(path, video_id=video_id, spool_folder=spool_folder)
        except VideoError as error:
            if source == "original" or error.reason not in {"no_motion_vectors", "interlaced"}:
                raise
    return _read_transcoded(path, video_id=video_id, spool_folder=spool_folder)


def _read_original(path: Path, *, video_id: str, spool_folder: Path | None) -> dict[str, Any]:
    with open_video(path, video_id=video_id) as video:
        context = video.stream.codec_context
        if context.name not in _VECTOR_DECODERS:
            detail = f"FFmpeg exports none of {video.codec_name}; transcode the video (motion source `auto`)"
            raise video.reject("no_motion_vectors", detail)
        video.set_options(_EXPORT_LOWRES if context.name in _LOWRES_DECODERS else _EXPORT)
        with video.watch_errors():
            first, frames = _peek(_refuse_fields(video))
            row = _collect_motion(video, frames, size=video.picture_size(first), spool_folder=spool_folder)
        return row | vars(orientation_of(first)) | {"source": "original"}


def _refuse_fields(video: VideoFile) -> Iterator[av.VideoFrame]:
    """Yield the frames of a video, all of them coded as whole frames.

    FFmpeg exports the vectors of field-coded blocks in lines of a field for some block types and in lines of the frame
    for others, and does not say which.
    """
    for index, frame in enumerate(video.decode()):
        if frame.interlaced_frame:
            detail = f"frame {index} of {video.codec_name}; transcode the video (motion source `auto`)"
            raise video.reject("interlaced", detail)
        yield frame


def _read_transcoded(path: Path, *, video_id: str, spool_folder: Path | None) -> dict[str, Any]:
    with open_video(path, video_id=video_id) as video:
        first, frames = _peek(video.decode())
        timestamps = array("q")

        def stamped() -> Iterator[av.VideoFrame]:
            for frame in frames:
                timestamps.append(NO_TIME if frame.pts is None else frame.pts)
                yield frame

        again = transcode_frames(stamped(), orientation=orientation_of(first), decoder_options=dict(_EXPORT_LOWRES))
        try:
            row = _collect_motion(video, again, size=(WIDTH_PX, HEIGHT_PX), spool_folder=spool_folder)
        except av.FFmpegError as error:
            raise video.reject("decode_error", f"the frames cannot be transcoded: {error.strerror}") from None
        num_frames = len(row["picture_type"])
        if num_frames != len(timestamps):
            raise video.reject("decode_error", f"{len(timestamps)} frames became {num_frames} in transcoding")
        return row | vars(Orientation()) | {"source": RECIPE, "time_seconds": video.seconds(timestamps)}


def _peek(frames: Iterator[av.VideoFrame]) -> tuple[av.VideoFrame, Iterator[av.VideoFrame]]:
    first = next(frames)
    return first, chain([first], frames)


def _collect_motion(
    video: VideoFile, frames: Iterable[av.VideoFrame], *, size: tuple[int, int], spool_folder: Path | None
) -> dict[str, Any]:
    item_shape = (*grid_shape(width_px=size[0], height_px=size[1]), 2)
    past, future = (Spool(dtype=np.int16, item_shape=item_shape, folder=spool_folder) for _ in range(2))
    stream = MotionStream(width_px=size[0], height_px=size[1], emit_past=past.append, emit_future=future.append)
    without_vectors = PictureType.B if video.stream.codec_context.name in _H263_DECODERS else None
    types, keyframes, timestamps = bytearray(), bytearray(), array("q")
    num_concealed = 0
    try:
        for index, frame in enumerate(frames):
            kind = frame.pict_type
            if video.has_concealed_errors(frame):
                num_concealed += 1
            elif kind != without_vectors:
                for data in side_data(frame):
                    if type(data) is MotionVectorData:
                        stream.add(index, memoryview(data))
            types.append(kind)
            keyframes.append(frame.key_frame)
            pts = frame.pts
            timestamps.append(NO_TIME if pts is None else pts)
        found = stream.finish()
    except VectorError as error:
        raise video.reject("decode_error", str(error)) from None
    if num_concealed:
        _log.warning("video %s: errors in %d frames, whose vectors are not stored", video.video_id, num_concealed)
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
