"""Re-encode decoded frames in memory, so that every video has motion vectors of one kind."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from moclip.core.orientation import Orientation

WIDTH_PX, HEIGHT_PX = 340, 256

GOP = 12

# FFmpeg's `-q:v 1` in the units of its options (FF_QP2LAMBDA). Its encoder goes no lower than the quantizer 2.
_QUANTISER_1 = 118

RECIPE = f"transcode:mpeg4,{WIDTH_PX}x{HEIGHT_PX},gop={GOP},max_b_frames=0,quantizer=2,bitexact"

_TIME_BASE = Fraction(1, 25)

# Exact arithmetic: equal vectors on every processor.
_SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

_ENCODER_OPTIONS = {"threads": "1", "flags": "+qscale+bitexact", "dct": "int", "idct": "simple"}


def transcode_frames(
    frames: Iterable[av.VideoFrame], *, orientation: Orientation, decoder_options: dict[str, str]
) -> Iterator[av.VideoFrame]:
    """Return the frames as a decoder gives them after a round through MPEG-4 part 2, upright and of one size.

    Args:
        frames: Decoded frames, all of one size.
        orientation: How they are shown upright.
        decoder_options: Options of the decoder of the new stream.

    Source: what CoViAR trains on, `ffmpeg -vf scale=340:256 -q:v 1 -c:v mpeg4` (Wu et al. 2018, arXiv 1712.00636).
    """
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
    encoder.time_base, encoder.framerate = _TIME_BASE, 1 / _TIME_BASE
    encoder.gop_size, encoder.max_b_frames = GOP, 0
    encoder.global_quality = _QUANTISER_1
    encoder.options = _ENCODER_OPTIONS
    decoder = av.CodecContext.create("mpeg4", "r")
    decoder.thread_type, decoder.thread_count = "NONE", 1
    decoder.options = decoder_options
    reformatter = VideoReformatter()
    for index, frame in enumerate(_take_fields(frames)):
        picture = _upright(reformatter, frame, orientation=orientation)
        picture.pts, picture.time_base = index, _TIME_BASE
        # A picture type inherited from the source would tell the encoder where to put its keyframes.
        picture.pict_type = 0
        for packet in encoder.encode(picture):
            yield from decoder.decode(packet)
    for packet in encoder.encode(None):
        yield from decoder.decode(packet)
    yield from decoder.decode(None)


def _take_fields(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield the upper field of interlaced frames, and other frames unchanged.

    Both fields of a frame together show two moments, and an encoder finds neither motion.
    """
    graph: av.filter.Graph | None = None
    for frame in frames:
        if not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            graph = av.filter.Graph()
            source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TIME_BASE)
            graph.link_nodes(source, graph.add("field", "top"), graph.add("buffersink")).configure()
        graph.vpush(frame)
        yield graph.vpull()


def _upright(reformatter: VideoReformatter, frame: av.VideoFrame, *, orientation: Orientation) -> av.VideoFrame:
    width_px, height_px = (HEIGHT_PX, WIDTH_PX) if orientation.is_turned else (WIDTH_PX, HEIGHT_PX)
    picture = reformatter.reformat(frame, width_px, height_px, "yuv420p", interpolation=_SCALER, threads=1)
    if orientation == Orientation():
        return picture
    planes = [_plane(plane) for plane in picture.planes]
    luma, *chroma = [orientation.apply(plane) for plane in planes]
    # The layout that PyAV reads: luma, then the rows of both colour planes in lines of the full width.
    rows = np.concatenate([np.ascontiguousarray(plane).reshape(-1) for plane in (luma, *chroma)])
    return av.VideoFrame.from_ndarray(rows.reshape(HEIGHT_PX * 3 // 2, WIDTH_PX), format="yuv420p")


def _plane(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    data = np.frombuffer(memoryview(plane), np.uint8)
    return data.reshape(plane.height, plane.line_size)[:, : plane.width]
