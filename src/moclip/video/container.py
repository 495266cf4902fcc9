"""Open a video file: its best stream, decoded frame by frame, and an error message for each failure."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from numpy.typing import NDArray

from moclip.core.orientation import Orientation, read_display_matrix
from moclip.errors import VideoError
from moclip.video.protection import is_protected

# Beyond this share of packets that cannot be decoded a video is rejected: what is left is too little of it.
MAX_ERROR_SHARE = 0.1

# Stands for no timestamp, as FFmpeg's AV_NOPTS_VALUE does.
NO_TIME = -(2**63)

# A frame keeps the container that its own property makes, and the container the frame: a cycle, hundreds of megabytes
# before it is collected. Made here, the container goes with its last name; and without the methods of a mapping it is
# made in half the time.
side_data = cast(Callable[[av.VideoFrame], Iterable[Any]], SideDataContainer.__base__)

_log = logging.getLogger(__name__)

# Containers and bare streams whose bytes are all in the file itself. What is not here is never opened: playlists and
# descriptions (hls, concat, dash, sdp, imf ...) name other files or addresses, and scripts run code. Some of sound are
# here for the sake of the reason: a file without video.
_FORMATS = (
    "asf,av1,avi,avs2,avs3,cavsvideo,dirac,dnxhd,dv,evc,flv,gxf,h261,h263,h264,hevc,ivf,live_flv,m4v,matroska,webm,mjpeg,"
    "mjpeg_2000,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,pva,rm,vc1,vc1test,vvc,wtv,yuv4mpegpipe,"
    "aac,ac3,aiff,flac,mp3,w64,wav"
)

# Without it the inverse transform of MPEG-4 rounds differently on each kind of processor.
_DECODER_OPTIONS = {"flags": "+bitexact"}

_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}


# The most frames by which a decoder may return a picture late.
_MAX_DELAY = 17


@dataclass(kw_only=True)
class VideoFile:
    """An open file and its best video stream, ready to decode."""

    container: InputContainer
    stream: av.VideoStream
    video_id: str
    lowres: bool = False
    _log: list[tuple[int, str, str]] = field(default_factory=list)
    _concealed_times: set[int] = field(default_factory=set)
    _num_unsure: int = 0

    def set_options(self, options: Mapping[str, str]) -> None:
        """Give the decoder its options, which it takes before its first packet."""
        self.stream.codec_context.options = {**_DECODER_OPTIONS, **options}
        self.lowres = "lowres" in options

    @contextmanager
    def watch_errors(self) -> Iterator[None]:
        """Notice during `decode` which frames hold concealed errors. FFmpeg says so in its log and nowhere else."""
        level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.INFO)
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture(local=True) as self._log:
                yield
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)

    def has_concealed_errors(self, frame: av.VideoFrame) -> bool:
        """Return whether FFmpeg invented a part of a decoded frame; True if that cannot be excluded.

        Ask once for each frame, in order: frames without a time are counted from the last error on.
        """
        if frame.pts is not None:
            return frame.pts in self._concealed_times
        self._num_unsure -= 1
        return self._num_unsure >= 0

    def _note_errors(self, packet: "av.Packet[av.VideoStream]") -> None:
        # At a reduced size nothing is concealed, and the blocks that could not be decoded keep what was there before.
        concealed = any(
            text.startswith("concealing ") or (self.lowres and level <= av.logging.ERROR)
            for level, _, text in self._log
        )
        self._log.clear()
        if concealed and packet.pts is not None:
            self._concealed_times.add(packet.pts)
        elif concealed:
            self._num_unsure = _MAX_DELAY

    def reject(self, reason: str, detail: str) -> VideoError:
        """Return the error that rejects this video."""
        return VideoError(reason=reason, detail=detail, video_id=self.video_id)

    @property
    def codec_name(self) -> str:
        """FFmpeg's name of the codec, for any decoder."""
        return self.stream.codec_context.codec.canonical_name

    @property
    def frame_rate(self) -> float:
        """Frames a second as the container has it, nan where it does not."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else float("nan")

    def likely_num_frames(self) -> int:
        """Return what the container says or implies, which can be wrong."""
        if self.stream.frames:
            return self.stream.frames
        seconds = (self.container.duration or 0) / av.time_base
        return max(1, round(seconds * self.frame_rate)) if np.isfinite(self.frame_rate) else 1

    def seconds(self, timestamps: Sequence[int | None]) -> NDArray[np.float64]:
        """Return the timestamps of frames as (T,) float64 seconds, nan for None and `NO_TIME`."""
        tick = float(self.stream.time_base) if self.stream.time_base else float("nan")
        stamps = np.array([NO_TIME if stamp is None else stamp for stamp in timestamps], np.int64)
        return np.where(stamps == NO_TIME, np.nan, stamps * tick)

    def picture_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return width and height in px of a decoded frame, the full ones where it was decoded smaller."""
        if self.lowres:
            return self.stream.codec_context.coded_width, self.stream.codec_context.coded_height
        return frame.width, frame.height

    def decode(self) -> Iterator[av.VideoFrame]:
        """Yield the frames in display order, all of one size; a packet that cannot be decoded is passed over.

        Raises:
            VideoError: There is not one frame, their size changes, the container breaks off, it is encrypted, or more
                than `MAX_ERROR_SHARE` of the packets cannot be decoded.
        """
        decode = self.stream.codec_context.decode
        size: tuple[int, int] | None = None
        num_packets = num_frames = num_errors = 0
        for packet in self.packets():
            num_packets += 1
            try:
                frames = decode(packet)
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):  # says nothing of the packet
                    raise
                if packet.has_sidedata("encryption_info"):
                    raise self.reject("encrypted", "the packets carry encryption data") from None
                num_errors += 1
                last_error = error.strerror
                continue
            if self._log:
                self._note_errors(packet)
            for frame in frames:
                if self.picture_size(frame) != size:
                    if size is not None:
                        width_px, height_px = self.picture_size(frame)
                        detail = f"from {size[0]}x{size[1]} to {width_px}x{height_px} px"
                        raise self.reject("resolution_change", detail)
                    size = self.picture_size(frame)
                yield frame
            num_frames += len(frames)
        if num_errors:
            if not num_frames:
                raise self.reject("decode_error", f"none of {num_errors} packets could be decoded: {last_error}")
            lost = f"{num_errors} of {num_packets} packets could not be decoded: {last_error}"
            if num_errors > MAX_ERROR_SHARE * num_packets:
                raise self.reject("decode_error_rate", lost)
            _log.warning("video %s: %s", self.video_id, lost)
        if not num_frames:
            raise self.reject("no_frames", "the stream holds no picture")

    def packets(self) -> "Iterator[av.Packet[av.VideoStream]]":
        """Yield the packets of the stream in the order of the file, and an empty one at its end.

        Raises:
            VideoError: The container breaks off.
        """
        try:
            yield from self.container.demux(self.stream)
        except av.FFmpegError as error:
            raise self.reject("decode_error", f"the container breaks off: {error.strerror}") from None


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Return the orientation that shows a frame upright."""
    for data in side_data(frame):
        if data.type.name == "DISPLAYMATRIX":
            return read_display_matrix(np.frombuffer(memoryview(data), np.int32).tolist())
    return Orientation()


@contextmanager
def open_video(path: Path, *, video_id: str) -> Iterator[VideoFile]:
    """Open a file with the `file` protocol alone, as a format that refers to no other file, and one decoder thread.

    Raises:
        VideoError: The file is missing, unreadable, encrypted, without video or of an unknown codec.
    """
    try:
        container = av.open(f"file:{path}", container_options=dict(_OPTIONS), metadata_errors="replace")
    except av.FileNotFoundError:
        raise VideoError(reason="missing", detail="no such file", video_id=video_id) from None
    except (av.FFmpegError, ValueError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.ArgumentError):  # what FFmpeg says of a format that is not on the list
            detail = "no format of video files, or one that may refer to other files, such as a playlist"
        raise VideoError(reason="unreadable", detail=detail, video_id=video_id) from None
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise VideoError(reason="no_video_stream", detail="only other streams", video_id=video_id)
        if "enc_key_id" in stream.metadata:
            raise VideoError(reason="encrypted", detail="the stream names an encryption key", video_id=video_id)
        if is_protected(path, container=container.format.name, track_id=stream.id):
            raise VideoError(reason="encrypted", detail="the container marks encrypted samples", video_id=video_id)
        if stream.codec_context is None:
            raise VideoError(reason="unsupported_codec", detail="FFmpeg names no decoder", video_id=video_id)
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        video = VideoFile(container=container, stream=stream, video_id=video_id)
        video.set_options({})
        yield video
