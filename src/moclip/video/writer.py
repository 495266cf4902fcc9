"""Write frames as a compressed video."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from moclip.errors import MoclipError

VideoCodec = Literal["h264", "mpeg4"]

_ENCODERS: dict[VideoCodec, Literal["libx264", "mpeg4"]] = {"h264": "libx264", "mpeg4": "mpeg4"}

_DEFAULT_QUALITY: dict[VideoCodec, int] = {"h264": 20, "mpeg4": 4}

_MAX_GOP = 600

_NO_SCENE_CUTS = {"h264": "0", "mpeg4": "1000000000"}


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
    # No scene cuts: the keyframes follow from `gop` alone.
    chosen = str(_DEFAULT_QUALITY[codec] if quality is None else quality)
    common = {"threads": "1", "sc_threshold": _NO_SCENE_CUTS[codec], "flags": "+bitexact"}
    if codec == "h264":
        # x264's look-ahead by macroblock trees gives other bytes in some runs, even with one thread.
        common["mbtree"] = "0"
        return {**common, "crf": chosen, "preset": "medium", "forced-idr": "1"}
    return {**common, "qmin": chosen, "qmax": chosen}
